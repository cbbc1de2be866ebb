// SPDX-License-Identifier: GPL-2.0

//! The virtio-gpu that the screen belongs to, on PCI.

use crate::{
    firmware::handoff::PixelBuffer,
    gpu::{
        protocol::{
            MemEntry,
            ResourceAttachBacking,
            ResourceCreate2d,
            ResourceDetachBacking,
            ResourceFlush,
            SetScanout,
            TransferToHost2d, //
        },
        Control,
        GpuError,
        Rect, //
    },
    pages::Pages,
    pci::config::Address,
    pci_io::{
        PciIo,
        Value, //
    },
    screen::{
        get_protocol,
        is_installed,
        Screen, //
    },
    virtio::{
        pci::{
            BarRegion,
            Capabilities,
            CapabilityError,
            Pci,
            DEVICE_GPU,
            VENDOR, //
        },
        queue::{
            BufferElement,
            QUEUE_BYTES, //
        },
        setup::{
            self,
            Addresses,
            Requested, //
        },
        Features,
        Hal,
        QueueNotify,
        Registers,
        Transport,
        VirtQueue, //
    }, //
};
use core::{
    cell::Cell,
    fmt,
    ptr::NonNull,
    sync::atomic::{
        fence,
        Ordering, //
    }, //
};
use uefi::{
    boot,
    proto::device_path::DevicePath,
    Handle, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

/// The scanout that EDK2 draws on.
pub(crate) const SCANOUT: u32 = 0;
/// The resource ID of the picture. EDK2 uses 1 and 2, the kernel's driver 1 << 31 and above.
pub(crate) const RESOURCE: u32 = 1 << 30;
/// Bytes of memory that is shared with the device: the virtqueue, and the entry that describes the
/// picture's memory.
pub(crate) const SHARED_BYTES: usize = QUEUE_BYTES + size_of::<MemEntry>();

/// Offsets in configuration space (PCI 3.0, section 6.1).
const VENDOR_ID: u16 = 0;
const COMMAND: u16 = 4;
const BAR_0: u16 = 0x10;
/// Command register: memory space enable and bus master enable.
const MEMORY_AND_MASTER: u16 = (1 << 1) | MASTER;
const MASTER: u16 = 1 << 2;
/// Command register: interrupt disable. No driver would handle an INTx interrupt.
const INTX_DISABLE: u16 = 1 << 10;

/// The limit for all waits for the device together, in microseconds.
const TIMEOUT_US: usize = 2_000_000;

/// The reason why a device cannot be left running.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DeviceError {
    /// The screen belongs to no PCI function.
    NotPci,
    /// The PCI function has this vendor ID and device ID, which are not those of a virtio-gpu.
    Other(u16, u16),
    /// Its capabilities cannot be used.
    Capabilities(CapabilityError),
    /// A BAR has another address than firmware reports, or it is too short.
    Bar(u8),
    /// It offers ACCESS_PLATFORM.
    AccessPlatform,
    /// It does not offer RING_RESET.
    NoRingReset,
    /// There is no memory for the virtqueue.
    Memory,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPci => f.write_str("it is not on PCI"),
            Self::Other(vendor, device) => {
                write!(f, "{vendor:04x}:{device:04x} is no virtio-gpu of ours")
            }
            Self::Capabilities(error) => error.fmt(f),
            Self::Bar(bar) => write!(f, "its BAR {bar} is not as firmware says"),
            Self::AccessPlatform => f.write_str(
                "it wants ACCESS_PLATFORM (an IOMMU or encrypted memory); start it with iommu_platform=off",
            ),
            Self::NoRingReset => f.write_str(
                "it offers no RING_RESET, without which the kernel has to reset it; QEMU has it from 7.2 on",
            ),
            Self::Memory => f.write_str("there is no memory for a ring"),
        }
    }
}

/// A virtio-gpu that can be left running.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    handle: Handle,
    io: NonNull<PciIo>,
    address: (u16, Address),
    capabilities: Capabilities,
    common_registers: BarRegisters,
    notify_registers: BarRegisters,
}

/// The PCI function of a virtio-gpu.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    handle: Handle,
    io: NonNull<PciIo>,
    /// Its PCI segment and address.
    pub(crate) address: (u16, Address),
}

impl Function {
    /// Returns the PCI function that `screen` belongs to.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotPci`] if there is none, [`DeviceError::Other`] if it is no virtio-gpu.
    pub(crate) fn of_screen(screen: &Screen) -> Result<Self, DeviceError> {
        let handle = screen.handle();
        // SAFETY: The result is used in this function only. The caller has just found the GOP on
        // this handle. Firmware does not run meanwhile, so nothing uninstalls the protocol.
        let path = unsafe { get_protocol::<DevicePath>(handle) }.ok_or(DeviceError::NotPci)?;
        // SAFETY: As above; a device path is never written.
        let mut path = unsafe { path.as_ref() };
        let handle =
            boot::locate_device_path::<PciIo>(&mut path).map_err(|_| DeviceError::NotPci)?;
        // SAFETY: The result is used below and in `Device::new()`, right after it was found, and
        // later only after `Device::is_reset()` has found the protocol installed on the handle. If
        // firmware had reinstalled it, there would be a new GOP as well, and `State::prepare()`
        // would have searched again.
        let io = unsafe { get_protocol::<PciIo>(handle) }.ok_or(DeviceError::NotPci)?;
        // SAFETY: It was found installed above. Firmware does not change it while this function
        // runs.
        let pci = unsafe { io.as_ref() };
        let [vendor, device] = [VENDOR_ID, VENDOR_ID + 2].map(|at| pci.read_config::<u16>(at));
        if (vendor, device) != (VENDOR, DEVICE_GPU) {
            return Err(DeviceError::Other(vendor, device));
        }
        let [segment, bus, device, function] = pci.location().ok_or(DeviceError::NotPci)?;
        let address = u16::try_from(segment).ok().zip(
            match (bus.try_into(), device.try_into(), function.try_into()) {
                (Ok(bus), Ok(device), Ok(function)) => Address::new(bus, device, function),
                _ => None,
            },
        );
        Ok(Self {
            handle,
            io,
            address: address.ok_or(DeviceError::NotPci)?,
        })
    }
}

impl Device {
    /// Checks whether the device of `function` can be left running. Firmware drives the device at
    /// this time; the check only reads.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] for the first reason why it cannot.
    pub(crate) fn new(function: Function) -> Result<Self, DeviceError> {
        let Function {
            handle,
            io,
            address,
        } = function;
        // SAFETY: `Function::of_screen()` has just found it installed. Firmware has not run since
        // then.
        let pci = unsafe { io.as_ref() };
        let sizes = core::array::from_fn(|bar| {
            bar_bus_address(pci, bar as u8)
                .and_then(|address| pci.bar_at(address))
                .map_or(0, |bar| bar.bytes)
        });
        let capabilities = Capabilities::read(|at| pci.read_config(at), &sizes)
            .map_err(DeviceError::Capabilities)?;
        let device = Self {
            handle,
            io,
            address,
            capabilities,
            common_registers: BarRegisters::new(io, capabilities.window())?,
            notify_registers: BarRegisters::new(io, capabilities.notify)?,
        };
        // Firmware has negotiated the features already, so that selecting them here disturbs
        // nothing.
        let offered = device.transport().device_features();
        if offered.contains(Features::ACCESS_PLATFORM) {
            return Err(DeviceError::AccessPlatform);
        }
        if !offered.contains(Features::RING_RESET) {
            return Err(DeviceError::NoRingReset);
        }
        Ok(device)
    }

    /// Returns the PCI segment and address.
    pub(crate) fn address(&self) -> (u16, Address) {
        self.address
    }

    /// Returns access to the device's virtio registers.
    fn transport(&self) -> Pci<BarRegisters> {
        Pci::new(self.common_registers, &self.capabilities)
    }

    /// Returns whether the device still exists, and is in the state after a reset.
    pub(crate) fn is_reset(&self) -> bool {
        is_installed::<PciIo>(self.handle) && self.transport().status().is_empty()
    }

    /// Brings the device up after firmware's reset, and has it show `picture`, of `size` pixels.
    /// The virtqueue is in `shared` meanwhile. Afterwards the device has no queue, bus mastering is
    /// off, and queue_desc of queue 0 contains `cookie`.
    ///
    /// Returns whether the device shows the picture. If it does not, it is as after a reset.
    /// Nothing could print the reason at this time.
    pub(crate) fn show(
        &self,
        picture: PixelBuffer,
        size: (u32, u32),
        shared: &mut Pages,
        cookie: u64,
    ) -> bool {
        if !self.is_reset() {
            return false;
        }
        // SAFETY: `is_reset()` above has found it installed. Firmware does not run meanwhile.
        let pci = unsafe { self.io.as_ref() };
        let command = pci.read_config::<u16>(COMMAND);
        pci.write_config(COMMAND, command | MEMORY_AND_MASTER | INTX_DISABLE);

        shared.clear();
        let hal = SharedMemory {
            memory: shared.start(),
            bytes: shared.bytes(),
            notify_registers: self.notify_registers,
            queue_notify: None,
            waited_us: &Cell::new(0),
        };
        let mut transport = self.transport();
        let is_shown = start_device(&mut transport, hal)
            .is_some_and(|mut control| draw_picture(&mut control, picture, size).is_ok())
            && reset_queue0(&mut transport, hal, cookie);
        if !is_shown {
            // Ignore the result: bus mastering is turned off below in any case.
            let _ = setup::reset(&mut transport, &hal);
        }
        // QEMU does not forward the reset of a queue to a vhost-user device. Turning bus mastering
        // off stops such a device.
        let command = pci.read_config::<u16>(COMMAND);
        pci.write_config(COMMAND, command & !MASTER);
        is_shown
    }
}

/// Resets queue 0. The device keeps showing the picture, and gets `cookie`, by which the kernel
/// recognises it. Returns whether both have succeeded.
fn reset_queue0(transport: &mut Pci<BarRegisters>, hal: SharedMemory<'_>, cookie: u64) -> bool {
    transport.reset_queue(0);
    let is_reset = hal.wait(&mut || transport.is_queue_reset(0));
    transport.set_queue_desc(0, cookie);
    is_reset && transport.queue_desc(0) == Some(cookie)
}

/// Brings the device up with one virtqueue and RING_RESET. Returns [`None`] if it refuses.
fn start_device<'a>(
    transport: &mut Pci<BarRegisters>,
    hal: SharedMemory<'a>,
) -> Option<Control<SharedMemory<'a>>> {
    let requested = Requested {
        // The kernel adopts the device with these: with EDID it can read the display's.
        features: Features::RING_RESET | Features::EDID,
        addresses: Addresses::Physical,
        adopts: false,
    };
    let addresses = |size| VirtQueue::addresses(&hal, size);
    let negotiated = setup::initialise(transport, &hal, requested, addresses).ok()?;
    // The kernel's driver checks the same feature.
    let driver_features = transport.driver_features()?;
    let hal = SharedMemory {
        queue_notify: Some(negotiated.queue_notify),
        ..hal
    };
    driver_features.contains(Features::RING_RESET).then(|| {
        Control::new(VirtQueue::new(
            hal,
            negotiated.queue.size,
            negotiated.features,
        ))
    })
}

/// Copies `picture`, of `width` times `height` pixels, to a resource of the host, and has the
/// scanout show it.
///
/// # Errors
///
/// [`GpuError`] if the device answers a command with an error, or not at all.
fn draw_picture(
    control: &mut Control<SharedMemory<'_>>,
    picture: PixelBuffer,
    (width, height): (u32, u32),
) -> Result<(), GpuError> {
    let entry = MemEntry::new(picture.address, picture.pitch * height);
    control.hal().copy_in(QUEUE_BYTES, entry.as_bytes());
    let entry = BufferElement {
        offset: QUEUE_BYTES,
        length: size_of::<MemEntry>(),
    };
    let all = Rect::new(0, 0, width, height);
    control.call(&ResourceCreate2d::new(RESOURCE, width, height), None)?;
    control.call(&ResourceAttachBacking::new(RESOURCE, 1), Some(entry))?;
    let mut added = control.add(&TransferToHost2d::new(all, 0, RESOURCE))?;
    added |= control.add(&SetScanout::new(all, SCANOUT, RESOURCE))?;
    added |= control.add(&ResourceFlush::new(all, RESOURCE))?;
    added |= control.add(&ResourceDetachBacking::new(RESOURCE))?;
    control.wait(added)?;
    match control.errors() {
        (_, Some(response)) => Err(GpuError::Response(response)),
        _ => Ok(()),
    }
}

/// Registers in a part of a BAR.
#[derive(Clone, Copy)]
struct BarRegisters {
    io: NonNull<PciIo>,
    bar: u8,
    offset: u64,
}

impl BarRegisters {
    /// Creates access to the region that a capability describes.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Bar`] if firmware has no such BAR, or if the region is not inside of it.
    fn new(io: NonNull<PciIo>, region: BarRegion) -> Result<Self, DeviceError> {
        // SAFETY: `Device::new()`, the only caller, has found it installed.
        let pci = unsafe { io.as_ref() };
        let bar = bar_bus_address(pci, region.bar).and_then(|address| pci.bar_at(address));
        match bar.filter(|bar| region.fits(bar.bytes)) {
            Some(bar) => Ok(Self {
                io,
                bar: bar.index,
                offset: region.offset.into(),
            }),
            None => Err(DeviceError::Bar(region.bar)),
        }
    }

    fn read<T: Value>(&self, at: usize) -> T {
        // SAFETY: Only the `Device` uses these registers, in `new()`, `is_reset()` and `show()`,
        // which have found the protocol installed before.
        unsafe { self.io.as_ref() }.read_bar(self.bar, self.offset + at as u64)
    }

    fn write<T: Value>(&self, at: usize, value: T) {
        // SAFETY: As in `read()`.
        unsafe { self.io.as_ref() }.write_bar(self.bar, self.offset + at as u64, value);
    }
}

/// Returns the address of BAR `bar`, 0 to 5, on the PCI bus. Returns [`None`] if it is no memory
/// BAR (PCI 3.0, section 6.2.5.1).
fn bar_bus_address(pci: &PciIo, bar: u8) -> Option<u64> {
    let at = BAR_0 + 4 * u16::from(bar);
    let low: u32 = pci.read_config(at);
    let high: u32 = match low & 7 {
        0 => 0,
        4 if bar < 5 => pci.read_config(at + 4),
        _ => return None,
    };
    Some((u64::from(high) << 32) | u64::from(low & !0xf))
}

impl Registers for BarRegisters {
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset)
    }

    fn read16(&self, offset: usize) -> u16 {
        self.read(offset)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.read(offset)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, value);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}

/// The memory that is shared with the device, and its notification register, once that is known.
#[derive(Clone, Copy)]
struct SharedMemory<'a> {
    memory: NonNull<u8>,
    bytes: usize,
    notify_registers: BarRegisters,
    queue_notify: Option<QueueNotify>,
    /// Microseconds that all waits have taken so far.
    waited_us: &'a Cell<usize>,
}

impl SharedMemory<'_> {
    /// Returns a pointer to `count` values of type `T` at offset `at`. Returns [`None`] if they are
    /// not inside of the memory, or not aligned.
    fn pointer<T>(&self, at: usize, count: usize) -> Option<NonNull<T>> {
        let end = size_of::<T>().checked_mul(count)?.checked_add(at)?;
        if end > self.bytes || at % align_of::<T>() != 0 {
            return None;
        }
        // SAFETY: `at` is at most `bytes`, the size of the pages that begin at `memory`, which are
        // one allocation.
        Some(unsafe { self.memory.add(at) }.cast())
    }

    fn load<T: FromBytes + Default>(&self, at: usize) -> T {
        match self.pointer(at, 1) {
            // SAFETY: `pointer()` has checked that it is in the pages and aligned, since the pages
            // are aligned. By the invariants of `Pages` they are initialised, and any bytes are a
            // valid `T` (`FromBytes`). The device may write there at the same time: the access is
            // volatile.
            Some(pointer) => unsafe { pointer.read_volatile() },
            None => T::default(),
        }
    }

    fn store<T: IntoBytes>(&self, at: usize, value: T) {
        if let Some(pointer) = self.pointer(at, 1) {
            // SAFETY: As in `load()`. `show()` borrows the pages mutably as long as there is a
            // `SharedMemory`, so only the device and this type write them. The value has no padding
            // (`IntoBytes`).
            unsafe { pointer.write_volatile(value) };
        }
    }
}

impl Hal for SharedMemory<'_> {
    fn device_address(&self, at: usize) -> u64 {
        // Without ACCESS_PLATFORM these are physical addresses, and firmware has an identity
        // mapping.
        self.memory.as_ptr() as u64 + at as u64
    }

    fn load16(&self, at: usize) -> u16 {
        u16::from_le(self.load(at))
    }

    fn load32(&self, at: usize) -> u32 {
        u32::from_le(self.load(at))
    }

    fn store16(&self, at: usize, value: u16) {
        self.store(at, value.to_le());
    }

    fn store64(&self, at: usize, value: u64) {
        self.store(at, value.to_le());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (byte, at) in into.iter_mut().zip(at..) {
            *byte = self.load(at);
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (&byte, at) in from.iter().zip(at..) {
            self.store(at, byte);
        }
    }

    fn write_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn read_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn notify(&self) {
        if let Some(queue_notify) = self.queue_notify {
            self.notify_registers
                .write16(queue_notify.offset, queue_notify.queue);
        }
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        // Timers are off at this time, so count the stalls. A check takes longer than a
        // microsecond: make the stalls longer, so that their sum is about the time that has passed.
        let mut pause_us = 1;
        while !done() {
            let waited_us = self.waited_us.get();
            if waited_us >= TIMEOUT_US {
                return false;
            }
            boot::stall(pause_us);
            self.waited_us.set(waited_us + pause_us);
            pause_us += pause_us.div_ceil(8);
        }
        true
    }
}
