// SPDX-License-Identifier: GPL-2.0

//! Where the kernel calls us without a driver of ours being asked: when drivers can be registered,
//! and when the PCI core is about to move BARs.

use core::ptr;

use kernel::{
    bindings as kernel_bindings,
    ffi::c_int,
    pr_err, //
};

use crate::{
    console::preferred,
    device::screen as stage, //
    linux::{
        bindings,
        console,
        holder,
        pci_driver,
        platform_driver,
        uevent, //
    },
    pci::{
        Address,
        Enumerated, //
    },
};

/// Where configuration space has the first BAR.
const BARS: u8 = 0x10;

/// An `arch_initcall`, after the buses exist and before anything is on them: so are we before the
/// drivers of all virtio devices.
#[no_mangle]
extern "C" fn virtgpu_bridge_watch() -> c_int {
    let class = uevent::register();
    // SAFETY: An initcall is called once, and may sleep. There is no module that could go: the
    // owner is null.
    let pci = unsafe { pci_driver::register(ptr::null_mut()) };
    // SAFETY: An initcall is called once, and may sleep.
    let platform = unsafe { platform_driver::register() };
    for error in [class.err(), pci.err(), platform.err()]
        .into_iter()
        .flatten()
    {
        pr_err!("no driver of ours: {:?}\n", error);
    }
    holder::watch();
    preferred::settle();
    0
}

/// A `console_initcall` before the VT's own.
#[no_mangle]
extern "C" fn virtgpu_bridge_console() -> c_int {
    #[cfg(CONFIG_VT)]
    crate::linux::consw::begin();
    #[cfg(not(CONFIG_VT))]
    stage::begin();
    0
}

/// A PCI function was found and its BARs are about to be sized, with decoding off; see
/// `DECLARE_PCI_FIXUP_EARLY()` in `helpers.c`.
///
/// # Safety
///
/// Called by `pci_setup_device()` (drivers/pci/probe.c), where sleeping is allowed, with a device
/// that nobody else knows yet, which has a bus and a name.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_pci_early(device: *mut kernel_bindings::pci_dev) {
    if !stage::is_up() {
        return;
    }
    // SAFETY: By the safety requirement nobody else accesses the device before this returns. Its
    // bus is valid, and so are those above it, up to the host bridge's own; their numbers do not
    // change.
    let (bus, devfn, id, first, last) = unsafe {
        let device = &*device;
        let mut root = device.bus;
        while !(*root).parent.is_null() {
            root = (*root).parent;
        }
        (
            (*device.bus).number,
            device.devfn,
            u32::from(device.device) << 16 | u32::from(device.vendor),
            (*root).busn_res.start,
            (*root).busn_res.end,
        )
    };
    let (Ok(devfn), Ok(first), Ok(last)) =
        (u8::try_from(devfn), u8::try_from(first), u8::try_from(last))
    else {
        return;
    };
    let Some(function) = Address::new(bus, devfn >> 3, devfn & 7) else {
        return;
    };
    let found = Enumerated {
        // SAFETY: By the safety requirement; it reads a number of the device's bus.
        domain: unsafe { bindings::virtgpu_pci_domain(device.cast()) },
        buses: first..=last,
        function,
        id,
    };
    let dword = |offset: u8| {
        let mut value = 0;
        // SAFETY: By the safety requirement the device can be asked, and there is a place for the
        // value. If it cannot be read, that is all ones.
        unsafe { kernel_bindings::pci_read_config_dword(device, offset.into(), &mut value) };
        u64::from(value)
    };
    let bar = |number: u8| {
        let low = dword(BARS + 4 * number);
        // PCI 3.0, section 6.2.5.1: type 2 is 64 bits wide.
        let high = if low & 6 == 4 {
            dword(BARS + 4 * number + 4)
        } else {
            0
        };
        high << 32 | low & !0xf
    };
    console::locked(|| stage::pci_found(&found, device.addr(), bar));
}
