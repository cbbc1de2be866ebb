// SPDX-License-Identifier: GPL-2.0

//! Ways to die, for the tests in `tests/vm`, in kernels that are built for them.
//!
//! A way is named by `virtgpu_bridge_test=` (taken in `setup_arch()`), by `virtgpu_bridge.test=`
//! (taken between the early console and the VT), or by writing to
//! `/sys/module/virtgpu_bridge/parameters/test`:
//!
//! * `panic`, and `softirq`, `hardirq`, `nmi` (where there are such), a panic there: at once;
//! * `warn-softirq`, `warn-hardirq`, `warn-nmi`: a warning there;
//! * `vanish`: a CPU warns and is never heard of again;
//! * `stall`: RCU has to wait for ten seconds;
//! * `hold`, `hold-short`: somebody has the console lock for an hour, or for six seconds;
//! * `paint-panic`, `paint-oops`, `paint-hang`: when the next command is put into the ring;
//! * `paint-hang-masked`: then, with interrupts masked, so that no other CPU can stop this one;
//! * `paint-oops-always`: whenever one is;
//! * `pci`: while the PCI core looks at the GPU;
//! * `bind`: when the native driver is about to get the GPU;
//! * `no-reset`: nobody dies, but the GPU does not finish the reset that precedes a handover;
//! * `vga`: nobody dies, but the GPU counts as one of the VGA class;
//! * `private`: nobody dies, but the guest's memory counts as hidden from devices.

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
    fn virtgpu_bridge_test_thread(what: c_uint, seconds: c_ulong);
}

// As `enum virtgpu_bridge_test_thread` in hooks.h.
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

/// What is to happen later.
static ARMED: AtomicU8 = AtomicU8::new(NOTHING);

/// Goes the way of that name.
///
/// # Safety
///
/// A terminated string.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_test_way(way: *const c_char) -> c_int {
    // SAFETY: By the safety requirement.
    let way = unsafe { CStr::from_char_ptr(way) }.to_bytes();
    match way.trim_ascii() {
        // SAFETY: To do harm is what these are for.
        b"panic" => unsafe { virtgpu_bridge_test_panic() },
        // SAFETY: As above.
        b"hold" => unsafe { virtgpu_bridge_test_thread(HOLD, 3600) },
        // SAFETY: As above.
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
        // SAFETY: As above.
        b"vanish" => unsafe { virtgpu_bridge_test_thread(VANISH, 0) },
        // SAFETY: As above.
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

/// A command is just being put into the ring.
pub(crate) fn in_paint() {
    let armed = ARMED.load(Ordering::Relaxed);
    if !(PAINT_PANIC..=PAINT_OOPS_ALWAYS).contains(&armed) {
        return;
    }
    if armed != PAINT_OOPS_ALWAYS {
        ARMED.store(NOTHING, Ordering::Relaxed);
    }
    match armed {
        // SAFETY: To do harm is what these are for.
        PAINT_PANIC => unsafe { virtgpu_bridge_test_panic() },
        PAINT_HANG | PAINT_HANG_MASKED => {
            if armed == PAINT_HANG_MASKED {
                // SAFETY: It masks interrupts, for good.
                unsafe { core::arch::asm!("msr daifset, #3") };
            }
            loop {
                core::hint::spin_loop();
            }
        }
        // SAFETY: As above; nothing is mapped there.
        _ => unsafe { ptr::without_provenance_mut::<u32>(8).write_volatile(0) },
    }
}

/// Whether the GPU is to be one that does not finish a reset.
pub(crate) fn refuses_reset() -> bool {
    ARMED.load(Ordering::Relaxed) == NO_RESET
}

/// Whether the GPU is to be one of the VGA class.
pub(crate) fn is_vga() -> bool {
    ARMED.load(Ordering::Relaxed) == VGA
}

/// Whether the guest's memory is to be hidden from devices.
pub(crate) fn hides_memory() -> bool {
    ARMED.load(Ordering::Relaxed) == PRIVATE
}

#[no_mangle]
extern "C" fn virtgpu_bridge_test_at_pci() {
    if ARMED.load(Ordering::Relaxed) == AT_PCI {
        // SAFETY: To do harm is what this is for.
        unsafe { virtgpu_bridge_test_panic() };
    }
}

#[no_mangle]
extern "C" fn virtgpu_bridge_test_at_bind() -> bool {
    ARMED.load(Ordering::Relaxed) == AT_BIND
}
