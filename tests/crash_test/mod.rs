// SPDX-License-Identifier: GPL-2.0

//! Crashes, warnings and faulty states on request, for the tests in `tests/vm`. Compiled only into
//! kernels with `CONFIG_VIRTGPU_BRIDGE_CRASH_TEST`.
//!
//! A request is named by `virtgpu_bridge_test=` (parsed in `setup_arch()`), by
//! `virtgpu_bridge.test=` (parsed between the early console and the VT), or by a write to
//! `/sys/module/virtgpu_bridge/parameters/test`:
//!
//! * `panic`: a panic at once;
//! * `softirq`, `hardirq`, `nmi`: a panic in that context, where the machine has it;
//! * `warn-softirq`, `warn-hardirq`, `warn-nmi`: a warning in that context;
//! * `vanish`: a warning on a CPU that then loops with interrupts masked;
//! * `stall`: an RCU read-side critical section of ten seconds;
//! * `hold`, `hold-short`: the console lock is taken for an hour, or for six seconds;
//! * `paint-panic`, `paint-oops`, `paint-hang`: a panic, an oops or an endless loop when the next
//!   command is written to the queue;
//! * `paint-hang-masked`: the same loop with interrupts masked, so that no other CPU can stop it;
//! * `paint-oops-always`: an oops for every command;
//! * `pci`: a panic while the PCI core enumerates the GPU;
//! * `bind`: a panic when the driver core offers the GPU to the native driver;
//! * `no-reset`: no crash, but the GPU does not finish the reset that precedes a handover;
//! * `vga`: no crash, but the GPU counts as one of the VGA class;
//! * `private`: no crash, but the guest's memory counts as inaccessible to devices.

use core::{
    ffi::CStr,
    ptr,
    sync::atomic::{
        AtomicU8,
        Ordering, //
    },
};

use kernel::{
    error::code::EINVAL,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong, //
    },
    str::CStrExt, //
};

extern "C" {
    fn virtgpu_bridge_test_panic();
    fn virtgpu_bridge_test_softirq(panics: bool);
    fn virtgpu_bridge_test_hardirq(panics: bool);
    fn virtgpu_bridge_test_nmi(panics: bool);
    fn virtgpu_bridge_test_thread(function: c_uint, seconds: c_ulong);
}

// The values of `enum virtgpu_bridge_test_thread` in hooks.h.
const HOLD: c_uint = 0;
const STALL: c_uint = 1;
const VANISH: c_uint = 2;

const NOTHING: u8 = 0;
const PAINT_PANIC: u8 = 1;
const PAINT_OOPS: u8 = 2;
const PAINT_HANG: u8 = 3;
const PAINT_HANG_MASKED: u8 = 4;
const PAINT_OOPS_ALWAYS: u8 = 5;
const AT_PCI: u8 = 6;
const AT_BIND: u8 = 7;
const NO_RESET: u8 = 8;
const VGA: u8 = 9;
const PRIVATE: u8 = 10;

/// The request that waits for its event: one of the constants above.
static ARMED: AtomicU8 = AtomicU8::new(NOTHING);

/// Executes the request of that name, or stores it in [`ARMED`]. Returns 0, or `-EINVAL` for an
/// unknown name.
///
/// # Safety
///
/// `request` must point to a NUL-terminated string.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_test_request(request: *const c_char) -> c_int {
    // SAFETY: By the safety requirement.
    let request = unsafe { CStr::from_char_ptr(request) }.to_bytes();
    match request.trim_ascii() {
        // SAFETY: It has no safety requirements; the crash is intended.
        b"panic" => unsafe { virtgpu_bridge_test_panic() },
        // SAFETY: The first argument is a value of the enum; the harm is intended.
        b"hold" => unsafe { virtgpu_bridge_test_thread(HOLD, 3600) },
        // SAFETY: The first argument is a value of the enum; the harm is intended.
        b"hold-short" => unsafe { virtgpu_bridge_test_thread(HOLD, 6) },
        // SAFETY: As above.
        b"softirq" => unsafe { virtgpu_bridge_test_softirq(true) },
        // SAFETY: As above.
        b"hardirq" => unsafe { virtgpu_bridge_test_hardirq(true) },
        // SAFETY: As above.
        b"nmi" => unsafe { virtgpu_bridge_test_nmi(true) },
        // SAFETY: As above.
        b"warn-softirq" => unsafe { virtgpu_bridge_test_softirq(false) },
        // SAFETY: As above.
        b"warn-hardirq" => unsafe { virtgpu_bridge_test_hardirq(false) },
        // SAFETY: As above.
        b"warn-nmi" => unsafe { virtgpu_bridge_test_nmi(false) },
        // SAFETY: The first argument is a value of the enum; the harm is intended.
        b"vanish" => unsafe { virtgpu_bridge_test_thread(VANISH, 0) },
        // SAFETY: The first argument is a value of the enum; the harm is intended.
        b"stall" => unsafe { virtgpu_bridge_test_thread(STALL, 10) },
        b"paint-panic" => ARMED.store(PAINT_PANIC, Ordering::Relaxed),
        b"paint-oops" => ARMED.store(PAINT_OOPS, Ordering::Relaxed),
        b"paint-hang" => ARMED.store(PAINT_HANG, Ordering::Relaxed),
        b"paint-hang-masked" => ARMED.store(PAINT_HANG_MASKED, Ordering::Relaxed),
        b"paint-oops-always" => ARMED.store(PAINT_OOPS_ALWAYS, Ordering::Relaxed),
        b"pci" => ARMED.store(AT_PCI, Ordering::Relaxed),
        b"bind" => ARMED.store(AT_BIND, Ordering::Relaxed),
        b"no-reset" => ARMED.store(NO_RESET, Ordering::Relaxed),
        b"vga" => ARMED.store(VGA, Ordering::Relaxed),
        b"private" => ARMED.store(PRIVATE, Ordering::Relaxed),
        _ => return EINVAL.to_errno(),
    }
    0
}

/// Executes a request for the next command, if there is one. Called while the driver writes a
/// command to the queue.
pub(crate) fn in_paint() {
    let armed = ARMED.load(Ordering::Relaxed);
    if !(PAINT_PANIC..=PAINT_OOPS_ALWAYS).contains(&armed) {
        return;
    }
    if armed != PAINT_OOPS_ALWAYS {
        ARMED.store(NOTHING, Ordering::Relaxed);
    }
    match armed {
        // SAFETY: It has no safety requirements; the crash is intended.
        PAINT_PANIC => unsafe { virtgpu_bridge_test_panic() },
        PAINT_HANG | PAINT_HANG_MASKED => {
            if armed == PAINT_HANG_MASKED {
                // SAFETY: It only masks interrupts, and the loop below never ends.
                unsafe { core::arch::asm!("msr daifset, #3") };
            }
            loop {
                core::hint::spin_loop();
            }
        }
        // SAFETY: Nothing is mapped there: the write faults, as intended, and changes no memory.
        _ => unsafe { ptr::without_provenance_mut::<u32>(8).write_volatile(0) },
    }
}

/// Returns whether the GPU shall not finish a reset.
pub(crate) fn refuses_reset() -> bool {
    ARMED.load(Ordering::Relaxed) == NO_RESET
}

/// Returns whether the GPU shall count as one of the VGA class.
pub(crate) fn is_vga() -> bool {
    ARMED.load(Ordering::Relaxed) == VGA
}

/// Returns whether the guest's memory shall count as inaccessible to devices.
pub(crate) fn hides_memory() -> bool {
    ARMED.load(Ordering::Relaxed) == PRIVATE
}

/// Panics if that is requested for the enumeration of the GPU.
#[no_mangle]
extern "C" fn virtgpu_bridge_test_at_pci() {
    if ARMED.load(Ordering::Relaxed) == AT_PCI {
        // SAFETY: It has no safety requirements; the crash is intended.
        unsafe { virtgpu_bridge_test_panic() };
    }
}

/// Returns whether a panic is requested for the native driver's probe().
#[no_mangle]
extern "C" fn virtgpu_bridge_test_at_bind() -> bool {
    ARMED.load(Ordering::Relaxed) == AT_BIND
}
