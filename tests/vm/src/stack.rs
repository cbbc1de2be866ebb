// SPDX-License-Identifier: GPL-2.0

//! How much of the kernel's stack the driver's own functions need, by the disassembly of a kernel.
//!
//! A function's frame is what it takes off the stack pointer. Frames are summed along direct calls;
//! what is called by pointer, or belongs to the kernel, is not followed.

use anyhow::{bail, ensure, Context, Result};
use clap::Parser;
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};
use vm::tally::{self, Tally};

/// Finds the driver's deepest path of calls in a kernel's disassembly.
#[derive(Parser)]
struct Cli {
    /// A kernel with the driver built in, as linked.
    vmlinux: PathBuf,
}

fn main() -> ExitCode {
    let Cli { vmlinux } = Cli::parse();
    tally::finish("stack", run(&vmlinux).map(Some))
}

/// Bytes that the driver's functions may take in all: arm64's THREAD_SIZE of 16 KiB without what
/// the kernel itself takes of it. Where we go deepest, in `setup_arch()` and `console_init()`, that
/// is about 800 bytes above us, 1200 to print a line below us, and 400 for an interrupt on its way
/// to the stack of its own. The rest, a good KiB, is in reserve, for calls by pointer and for other
/// compilers.
const LIMIT: u64 = 12 << 10 | 512;

/// The same for the console of a kernel that dies of a full stack, which has arm64's
/// OVERFLOW_STACK_SIZE of 4 KiB for all: without what the exception, the panic and printing its
/// trace take above us, 1500 bytes.
const DYING_LIMIT: u64 = 2560;

/// The function of that console that the kernel calls, and the one that starts a log again that was
/// left half changed. A panic takes it last, and its stack has to suffice for that.
const CONSOLE: &str = "5linux5nbcon12write_atomic";
const RECOVERY: &str = "12ActiveDevice7restart";

/// A function of the driver.
#[derive(Debug, Default, PartialEq)]
struct Function {
    name: String,
    /// Bytes it takes off the stack pointer.
    frame: u64,
    /// The addresses of what it calls.
    calls: Vec<u64>,
    /// The addresses of what it ends in: its frame is gone by then.
    tails: Vec<u64>,
}

/// The driver's functions, by their addresses.
type Functions = BTreeMap<u64, Function>;

/// Checks the kernel `vmlinux`: prints the deepest path and how deep it is.
fn run(vmlinux: &Path) -> Result<Tally> {
    let mut objdump = Command::new("llvm-objdump")
        .args(["--disassemble", "--no-show-raw-insn"])
        .arg(vmlinux)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run llvm-objdump")?;
    let output = objdump.stdout.take().context("it has no output")?;
    let mut functions = read(BufReader::new(output).lines().map_while(Result::ok));
    ensure!(objdump.wait()?.success(), "llvm-objdump failed");
    ensure!(
        !functions.is_empty(),
        "the driver is not in {}",
        vmlinux.display()
    );
    let mut tally = Tally::default();
    let (depth, path) = deepest(&functions, "")?;
    print!("{}", demangle(&show(&functions, &path)));
    println!("{depth} bytes of stack; {LIMIT} are allowed");
    tally.count(depth <= LIMIT);

    let count = functions.len();
    functions.retain(|_, function| !function.name.contains(RECOVERY));
    ensure!(functions.len() < count, "there is no {RECOVERY}");
    let (depth, path) = deepest(&functions, CONSOLE)?;
    ensure!(depth != 0, "there is no {CONSOLE}");
    print!("{}", demangle(&show(&functions, &path)));
    println!("{depth} bytes of the stack of a kernel whose own is full; {DYING_LIMIT} are allowed");
    tally.count(depth <= DYING_LIMIT);
    Ok(tally)
}

/// Returns whether a symbol is the driver's: of its crate (as symbols have it: after the length of
/// its name), or of its C. What is there for tests runs on a stack that has nothing else on it.
fn is_ours(symbol: &str) -> bool {
    let is_test = ["5kunit", "10crash_test", "virtgpu_bridge_test_"];
    (symbol.contains("14virtgpu_bridge") || symbol.starts_with("virtgpu_"))
        && !is_test.iter().any(|part| symbol.contains(part))
}

/// Returns the driver's functions in a disassembly, by their addresses.
fn read(lines: impl IntoIterator<Item = String>) -> Functions {
    let mut functions = Functions::new();
    let mut current: Option<(u64, Function)> = None;
    for line in lines {
        if let Some((address, name)) = header(&line) {
            functions.extend(current.take());
            let name = name.to_owned();
            let function = Function {
                name,
                ..Function::default()
            };
            current = Some((address, function)).filter(|(_, it)| is_ours(&it.name));
        } else if let Some((address, function)) = &mut current {
            function.frame += takes(&line);
            match branch(&line) {
                Some((true, target)) => function.calls.push(target),
                // A loop may go back to the start of its own function.
                Some((false, target)) if target != *address => function.tails.push(target),
                _ => {}
            }
        }
    }
    functions.extend(current);
    functions
}

/// `ffff800080301be4 <name>:`.
fn header(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((u64::from_str_radix(address, 16).ok()?, name))
}

/// Returns the mnemonic and the operands of `ffff800080301be4:             sub     sp, sp, #0x20`.
fn instruction(line: &str) -> Option<(&str, &str)> {
    let (_, text) = line.split_once(':')?;
    let text = text.trim();
    Some(text.split_once(char::is_whitespace).unwrap_or((text, "")))
}

/// Returns the bytes that an instruction takes off the stack pointer.
fn takes(line: &str) -> u64 {
    let taken = instruction(line).and_then(|(mnemonic, operands)| {
        let operands = operands.split("//").next()?.trim();
        if let Some(operands) = operands.strip_prefix("sp, sp, #") {
            let (amount, shift) = match operands.split_once(", lsl #") {
                Some((amount, shift)) => (amount, shift.trim().parse().ok()?),
                None => (operands, 0),
            };
            return (mnemonic == "sub").then_some(number(amount)? << shift);
        }
        let (_, amount) = operands.strip_suffix("]!")?.split_once("[sp, #-")?;
        mnemonic.starts_with("st").then_some(number(amount)?)
    });
    taken.unwrap_or(0)
}

fn number(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// Where a call (`true`) or a jump goes, if that is to the start of a function.
fn branch(line: &str) -> Option<(bool, u64)> {
    let (mnemonic, operands) = instruction(line)?;
    let is_call = mnemonic == "bl";
    if !is_call && mnemonic != "b" && !mnemonic.starts_with("b.") {
        return None;
    }
    let (target, symbol) = operands.trim().split_once(" <")?;
    if symbol.trim_end_matches('>').contains("+0x") {
        return None;
    }
    Some((is_call, number(target)?))
}

/// Returns the bytes that the deepest path takes that begins in a function with `from` in its name,
/// and the addresses of its functions, the uppermost first.
///
/// # Errors
///
/// A function comes to call itself: nothing says how deep that goes.
fn deepest(functions: &Functions, from: &str) -> Result<(u64, Vec<u64>)> {
    let mut known = HashMap::new();
    for &address in functions.keys() {
        measure(functions, address, &mut known, &mut Vec::new())?;
    }
    let depth = |address: &u64| known.get(address).map_or(0, |deep: &Deep| deep.bytes);
    let starts = functions
        .iter()
        .filter(|(_, function)| function.name.contains(from));
    let mut next = starts.map(|(&address, _)| address).max_by_key(depth);
    let bytes = next.as_ref().map_or(0, depth);
    let mut path = Vec::new();
    while let Some(address) = next {
        path.push(address);
        next = known.get(&address).and_then(|deep| deep.next);
    }
    Ok((bytes, path))
}

/// How deep the stack gets in a function, and where from it.
#[derive(Clone, Copy, Default)]
struct Deep {
    bytes: u64,
    next: Option<u64>,
}

/// Finds how deep a function gets, which was called on the way `above`.
fn measure(
    functions: &Functions,
    address: u64,
    known: &mut HashMap<u64, Deep>,
    above: &mut Vec<u64>,
) -> Result<Deep> {
    let Some(function) = functions.get(&address) else {
        return Ok(Deep::default());
    };
    if let Some(&deep) = known.get(&address) {
        return Ok(deep);
    }
    if let Some(start) = above.iter().position(|&other| other == address) {
        let path = show(functions, &above[start..]);
        bail!("a function calls itself:\n{}", demangle(&path));
    }
    above.push(address);
    let mut deep = Deep {
        bytes: function.frame,
        next: None,
    };
    let calls = function.calls.iter().map(|&to| (function.frame, to));
    let tails = function.tails.iter().map(|&to| (0, to));
    for (frame, to) in calls.chain(tails) {
        let bytes = frame + measure(functions, to, known, above)?.bytes;
        if bytes > deep.bytes {
            deep = Deep {
                bytes,
                next: Some(to),
            };
        }
    }
    above.pop();
    known.insert(address, deep);
    Ok(deep)
}

/// Returns a line for each function of a path: its frame and its name.
fn show(functions: &Functions, path: &[u64]) -> String {
    path.iter()
        .filter_map(|address| functions.get(address))
        .map(|function| format!("{:6} {}\n", function.frame, function.name))
        .collect()
}

/// Returns a text with the names of Rust's symbols; with the symbols if no program can demangle
/// them.
fn demangle(text: &str) -> String {
    let demangled = || -> Option<String> {
        let mut filter = Command::new("llvm-cxxfilt")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        filter.stdin.take()?.write_all(text.as_bytes()).ok()?;
        let output = filter.wait_with_output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    demangled()
        .filter(|demangled| !demangled.is_empty())
        .unwrap_or(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a disassembly, as llvm-objdump prints it.
    fn disassembly(functions: &[(u64, &str, &[&str])]) -> Functions {
        let mut lines = vec![
            "".into(),
            "vmlinux:\tfile format elf64-littleaarch64".into(),
            "Disassembly of section .text:".into(),
        ];
        for (address, name, instructions) in functions {
            lines.push(format!("{address:016x} <{name}>:"));
            for (at, instruction) in (*address..).step_by(4).zip(*instructions) {
                lines.push(format!("{at:x}:      \t{instruction}"));
            }
            lines.push("".into());
        }
        read(lines)
    }

    #[test]
    fn frames_are_what_is_taken_off_the_stack_pointer() {
        for (instruction, bytes) in [
            ("sub\tsp, sp, #0x5a0", 0x5a0),
            ("sub\tsp, sp, #0x1, lsl #12   // =0x1000", 0x1000),
            ("sub\tsp, sp, #32", 32),
            ("stp\tx29, x30, [sp, #-0x60]!", 0x60),
            ("str\tx30, [sp, #-0x10]!", 0x10),
            ("stp\tx28, x27, [sp, #0x10]", 0),
            ("stp\tx28, x27, [sp, #-0x10]", 0),
            ("ldr\tx30, [sp, #-0x10]!", 0),
            ("add\tsp, sp, #0x5a0", 0),
            ("sub\tx0, sp, #0x20", 0),
            ("subs\tsp, sp, #0x20", 0),
            ("str\tx8, [x0, #-0x10]!", 0),
            ("ret", 0),
        ] {
            let line = format!("ffff800080301be4:      \t{instruction}");
            assert_eq!(takes(&line), bytes, "{instruction}");
        }
    }

    #[test]
    fn calls_and_jumps_to_other_functions() {
        for (instruction, target) in [
            (
                "bl\t0xffff800080301be4 <f>",
                Some((true, 0xffff_8000_8030_1be4)),
            ),
            ("b\t0x10 <f>", Some((false, 0x10))),
            ("b.eq\t0x10 <f>", Some((false, 0x10))),
            ("bl\t0x10 <f+0x4>", None),
            ("b\t0x10 <f+0x4>", None),
            ("blr\tx8", None),
            ("br\tx8", None),
            ("bti\tc", None),
            ("cbz\tx8, 0x10 <f+0x4>", None),
            ("bic\tx8, x8, x9", None),
        ] {
            let line = format!("ffff800080301be4:      \t{instruction}");
            assert_eq!(branch(&line), target, "{instruction}");
        }
    }

    #[test]
    fn the_tests_and_the_kernel_are_not_the_drivers() {
        assert!(is_ours("_RNvNtCs1_14virtgpu_bridge6stages5begin"));
        assert!(is_ours("_RINvMNtCs1_4core3str4trimECs2_14virtgpu_bridge"));
        assert!(is_ours("virtgpu_dma_wmb"));
        assert!(!is_ours("_RNvNtCs1_14virtgpu_bridge5kunit4test"));
        assert!(!is_ours("_RNvNtCs1_14virtgpu_bridge10crash_test4test"));
        assert!(!is_ours("virtgpu_bridge_test_panic"));
        assert!(!is_ours("virtio_gpu_init"));
        assert!(!is_ours("_printk"));
    }

    #[test]
    fn the_deepest_path_is_found() {
        let functions = disassembly(&[
            (
                0x100,
                "virtgpu_a",
                &[
                    "sub\tsp, sp, #0x100",
                    "bl\t0x200 <virtgpu_b>",
                    "bl\t0x300 <virtgpu_c>",
                ],
            ),
            // What it ends in takes the place of its own frame.
            (
                0x200,
                "virtgpu_b",
                &["sub\tsp, sp, #0x1, lsl #12", "b\t0x400 <virtgpu_d>"],
            ),
            (
                0x300,
                "virtgpu_c",
                &[
                    "sub\tsp, sp, #0x80",
                    "b.ne\t0x300 <virtgpu_c>",
                    "bl\t0x400 <virtgpu_d>",
                    "bl\t0x500 <_printk>",
                ],
            ),
            (0x400, "virtgpu_d", &["sub\tsp, sp, #0xfe0", "ret"]),
            (0x500, "_printk", &["sub\tsp, sp, #0x2, lsl #12"]),
        ]);
        assert_eq!(functions.len(), 4);
        let (bytes, path) = deepest(&functions, "").unwrap();
        assert_eq!((bytes, &*path), (0x1160, &[0x100, 0x300, 0x400][..]));
        assert_eq!(deepest(&functions, "_c").unwrap().1, [0x300, 0x400]);
        assert_eq!(
            show(&functions, &path),
            "   256 virtgpu_a\n   128 virtgpu_c\n  4064 virtgpu_d\n"
        );
    }

    #[test]
    fn what_calls_itself_is_no_path() {
        let functions = disassembly(&[
            (0x100, "virtgpu_a", &["bl\t0x200 <virtgpu_b>"]),
            (
                0x200,
                "virtgpu_b",
                &["sub\tsp, sp, #0x20", "bl\t0x300 <virtgpu_c>"],
            ),
            (0x300, "virtgpu_c", &["b\t0x200 <virtgpu_b>"]),
        ]);
        let error = deepest(&functions, "").unwrap_err().to_string();
        assert!(
            error.contains("32 virtgpu_b\n     0 virtgpu_c\n"),
            "{error}"
        );
    }
}
