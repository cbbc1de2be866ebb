// SPDX-License-Identifier: GPL-2.0

//! Writes lines in the guest, and prints the duration on the serial port.
//!
//!     writer NAME PATH WIDTH COUNT HOW
//!
//! COUNT lines of WIDTH columns are written to PATH; on /dev/kmsg the kernel's time stamp counts as
//! columns. HOW is one of:
//!
//! * `sync`: one write for each line; printing threads run before the next one, where they can.
//!   Output by threads after the last line is not waited for;
//! * `apart`: as `sync`, and all output of a line ends before the next line;
//! * `alike`: as `sync`, with the same text in every line except for its number; all output ends
//!   before the program does;
//! * `burst`: one write for each line;
//! * `boot`: as `burst`, without a pause before it;
//! * `cat`: writes of 4 KiB.
//!
//! Under `-icount shift=0` the counter that is read here counts instructions. The program waits for
//! printing threads by counting instead of sleeping, so that the instructions of the wait are known
//! and can be subtracted. There is no allocator and no libc, so that only the kernel is measured.

#![no_std]
#![no_main]

use core::{
    arch::{asm, global_asm},
    ffi::{c_char, CStr},
    panic::PanicInfo,
};

global_asm!(
    ".globl _start",
    "_start:",
    "mov x0, sp",
    "bl main",
    "brk #1"
);

const OPENAT: usize = 56;
const WRITE: usize = 64;
const EXIT: usize = 93;
const NANOSLEEP: usize = 101;
const SCHED_SETSCHEDULER: usize = 119;
const SCHED_YIELD: usize = 124;

const AT_FDCWD: usize = -100_isize as usize;
const O_WRONLY: usize = 1;

/// The scheduling policy of the program: as other programs, or only while the CPU is idle.
const SCHED_NORMAL: usize = 0;
const SCHED_IDLE: usize = 5;

/// The length in bytes of the kernel's time stamp before a line of the log: `[    1.234567] `.
const TIME: usize = 15;

const TEXT: &[u8] =
    b"the quick brown fox jumps over the lazy dog 0123456789 !\"#$%&()*+,-./:;<=>?@[]^_{|}~ ";

fn call(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    // SAFETY: The arguments are valid for the system call, as the callers make sure.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") arguments[0] => result, in("x1") arguments[1],
            in("x2") arguments[2], in("x3") arguments[3], options(nostack));
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        call(EXIT, [code, 0, 0, 0]);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

fn open(path: &CStr) -> Option<usize> {
    usize::try_from(call(
        OPENAT,
        [AT_FDCWD, path.as_ptr() as usize, O_WRONLY, 0],
    ))
    .ok()
}

fn write(file: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match usize::try_from(call(WRITE, [file, bytes.as_ptr() as usize, bytes.len(), 0])) {
            Ok(done) if done > 0 => bytes = &bytes[done.min(bytes.len())..],
            _ => exit(2),
        }
    }
}

fn sleep(milliseconds: usize) {
    let time = [0, milliseconds * 1_000_000];
    call(NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0]);
}

/// Lets printing threads run, which may wake at the next tick only. Returns the number of
/// instructions that this takes here.
fn settle() -> u64 {
    // A tick of 4 ms and a half.
    const TURNS: u64 = 3_000_000;
    // SAFETY: It only counts.
    unsafe {
        asm!("2:", "subs {0}, {0}, #1", "b.ne 2b", inout(reg) TURNS => _, options(nomem, nostack));
    }
    2 * TURNS
}

fn schedule(policy: usize) {
    let priority = 0_u32;
    call(
        SCHED_SETSCHEDULER,
        [0, policy, &raw const priority as usize, 0],
    );
    call(SCHED_YIELD, [0; 4]);
}

/// Returns the nanoseconds since the machine was started.
fn now() -> u64 {
    let (ticks, rate): (u64, u64);
    // SAFETY: Linux gives programs access to them.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) rate,
            options(nomem, nostack));
    }
    (u128::from(ticks) * 1_000_000_000 / u128::from(rate)) as u64
}

/// A buffer for text.
struct Line {
    bytes: [u8; 8192],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self {
            bytes: [0; 8192],
            len: 0,
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..][..text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// Writes a line with a number and the text from `turn` on.
    fn fill(&mut self, number: u64, turn: usize, width: usize) {
        let from = self.len;
        self.number(10_000 + number);
        self.push(b" ");
        while self.len < from + width {
            let turned = &TEXT[turn % TEXT.len()..];
            let part = if self.len < from + 10 { turned } else { TEXT };
            self.push(&part[..part.len().min(from + width - self.len)]);
        }
        self.len = from + width;
        self.push(b"\n");
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn number(text: &CStr) -> usize {
    text.to_bytes()
        .iter()
        .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

/// Starts the program; `sp` points to the number of arguments, followed by pointers to them.
#[no_mangle]
extern "C" fn main(sp: *const usize) -> ! {
    let argument = |at: usize| {
        // SAFETY: The kernel starts programs like this.
        unsafe {
            if *sp <= at {
                exit(1);
            }
            CStr::from_ptr(*sp.add(1 + at) as *const c_char)
        }
    };
    let [name, path, width, count, how] = [1, 2, 3, 4, 5].map(argument);
    let (width, count) = (number(width), number(count) as u64);
    let width = match path.to_bytes() {
        b"/dev/kmsg" => width - TIME,
        _ => width,
    };
    let (Some(file), Some(serial)) = (open(path), open(c"/dev/ttyAMA0")) else {
        exit(3)
    };

    let how = how.to_bytes();
    let mut word = Line::new();
    if how != b"boot" {
        word.push(b"vm: begin ");
        word.push(name.to_bytes());
        word.push(b"\n");
        write(serial, word.text());
        // Until the output on the serial port, and all other output, has ended.
        sleep(50);
    }

    let mut line = Line::new();
    let mut counted = 0;
    if matches!(how, b"alike" | b"apart" | b"sync") {
        schedule(SCHED_IDLE);
    }
    let begun = now();
    for at in 0..count {
        let turn = if how == b"alike" { 0 } else { at as usize };
        line.fill(at, turn, width);
        if how != b"cat" || line.len >= 4096 || at + 1 == count {
            write(file, line.text());
            line.len = 0;
        }
        if how == b"apart" {
            counted += settle();
        }
    }
    if how != b"sync" {
        schedule(SCHED_IDLE);
        counted += settle();
    }
    let ended = now();
    schedule(SCHED_NORMAL);
    sleep(50);

    word.len = 0;
    word.push(b"vm: took ");
    word.push(name.to_bytes());
    for number in [count, ended - begun - counted, begun] {
        word.push(b" ");
        word.number(number);
    }
    word.push(b"\n");
    write(serial, word.text());
    exit(0)
}
