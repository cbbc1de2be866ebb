// SPDX-License-Identifier: GPL-2.0

//! The virtio-gpu behind the screen, on PCI.

use crate::{
    firmware::handoff::Pixels,
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
    pci::Address,
    pci_io::{
        PciIo,
        Value, //
    },
    screen::{
        has,
        look,
        Screen, //
    },
    virtio::{
        pci::{
            Capabilities,
            CapabilityError,
            Pci,
            Place,
            DEVICE_GPU,
            VENDOR, //
        },
        ring::{
            Part,
            RING_BYTES, //
        },
        setup::{
            self,
            Addresses,
            Wishes, //
        },
        Doorbell,
        Features,
        Hal,
        Registers,
        Ring,
        Transport, //
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
/// The picture's number on the device: EDK2's are 1 and 2, those of the kernel's driver are 1 << 31
/// and more.
pub(crate) const RESOURCE: u32 = 1 << 30;
/// Bytes that are shared with the device: the ring, and where the picture is.
pub(crate) const SHARED_BYTES: usize = RING_BYTES + size_of::<MemEntry>();

/// Registers of configuration space (PCI 3.0, section 6.1).
const VENDOR_ID: u16 = 0;
const COMMAND: u16 = 4;
const BAR_0: u16 = 0x10;
/// Memory space and bus mastering, in the command register.
const MEMORY_AND_MASTER: u16 = (1 << 1) | MASTER;
const MASTER: u16 = 1 << 2;
/// No interrupt by pin: nobody would know whose it is.
const NO_INTX: u16 = 1 << 10;

/// How long a device that does not answer is waited for, in microseconds, by all waits together.
const PATIENCE: usize = 2_000_000;

/// Why a device is not left running.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// There is no PCI function below the screen.
    NotPci,
    /// There is one that is no virtio-gpu.
    Other(u16, u16),
    /// Its capabilities cannot be used.
    Capabilities(CapabilityError),
    /// A BAR is not where firmware thinks, or too short.
    Bar(u8),
    /// It offers ACCESS_PLATFORM.
    Platform,
    /// It does not offer RING_RESET.
    NoRingReset,
    /// There is no memory for a ring.
    Memory,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPci => f.write_str("it is not on PCI"),
            Self::Other(vendor, device) => {
                write!(f, "{vendor:04x}:{device:04x} is no virtio-gpu of ours")
            }
            Self::Capabilities(error) => error.fmt(f),
            Self::Bar(bar) => write!(f, "its BAR {bar} is not as firmware says"),
            Self::Platform => f.write_str(
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
    common: Window,
    notify: Window,
}

/// A device's PCI function.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    handle: Handle,
    io: NonNull<PciIo>,
    /// Its segment, and where it is in there.
    pub(crate) address: (u16, Address),
}

impl Function {
    /// The function that draws what is on `screen`, if it is a virtio-gpu.
    ///
    /// # Errors
    ///
    /// What it is else.
    pub(crate) fn behind(screen: &Screen) -> Result<Self, Why> {
        // SAFETY: It is used in this function alone. The caller has just found the GOP, whose
        // handle this is: nobody uninstalls it meanwhile, since firmware waits for us.
        let path = unsafe { look::<DevicePath>(screen.handle()) }.ok_or(Why::NotPci)?;
        // SAFETY: As above; nobody writes to a path.
        let mut path = unsafe { path.as_ref() };
        let handle = boot::locate_device_path::<PciIo>(&mut path).map_err(|_| Why::NotPci)?;
        // SAFETY: It is used below and in `Device::new()`, right after it was found, and later once
        // `Device::is_reset()` has found one installed on the handle. Should firmware have taken
        // this one away and installed another, there was a new GOP as well, and `State::prepare()`
        // has looked anew.
        let io = unsafe { look::<PciIo>(handle) }.ok_or(Why::NotPci)?;
        // SAFETY: It was found installed above. Firmware waits for us, and does not change it
        // meanwhile.
        let pci = unsafe { io.as_ref() };
        let [vendor, device] = [VENDOR_ID, VENDOR_ID + 2].map(|at| pci.configuration::<u16>(at));
        if (vendor, device) != (VENDOR, DEVICE_GPU) {
            return Err(Why::Other(vendor, device));
        }
        let [segment, bus, device, function] = pci.location().ok_or(Why::NotPci)?;
        let address = u16::try_from(segment).ok().zip(
            match (bus.try_into(), device.try_into(), function.try_into()) {
                (Ok(bus), Ok(device), Ok(function)) => Address::new(bus, device, function),
                _ => None,
            },
        );
        Ok(Self {
            handle,
            io,
            address: address.ok_or(Why::NotPci)?,
        })
    }
}

impl Device {
    /// Finds out whether the device of `function` can be left running. Firmware drives it
    /// meanwhile, and sees nothing of that.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn new(function: Function) -> Result<Self, Why> {
        let Function {
            handle,
            io,
            address,
        } = function;
        // SAFETY: `Function::behind()` has just found it installed; firmware waits for us since.
        let pci = unsafe { io.as_ref() };
        let sizes = core::array::from_fn(|bar| {
            bus_address(pci, bar as u8)
                .and_then(|address| pci.bar_at(address))
                .map_or(0, |bar| bar.bytes)
        });
        let capabilities =
            Capabilities::read(|at| pci.configuration(at), &sizes).map_err(Why::Capabilities)?;
        let device = Self {
            handle,
            io,
            address,
            capabilities,
            common: Window::new(io, capabilities.window())?,
            notify: Window::new(io, capabilities.notify)?,
        };
        // Firmware has agreed with the device and asks no more, so that it may be asked.
        let offered = device.transport().device_features();
        if offered.contains(Features::ACCESS_PLATFORM) {
            return Err(Why::Platform);
        }
        if !offered.contains(Features::RING_RESET) {
            return Err(Why::NoRingReset);
        }
        Ok(device)
    }

    /// Its segment, and where it is in there.
    pub(crate) fn address(&self) -> (u16, Address) {
        self.address
    }

    fn transport(&self) -> Pci<Window> {
        Pci::new(self.common, &self.capabilities)
    }

    /// Whether it is there, and as firmware's reset leaves it.
    pub(crate) fn is_reset(&self) -> bool {
        has::<PciIo>(self.handle) && self.transport().status().is_empty()
    }

    /// Brings the device up after firmware's reset, and has it show `picture`, of `size` pixels.
    /// The ring is in `shared` meanwhile. After that the device has no queue, is no master of the
    /// bus, and has `mark` where the address of queue 0 was.
    ///
    /// Says whether it shows it; if not, it is as after a reset. Nobody could be told why.
    pub(crate) fn show(
        &self,
        picture: Pixels,
        size: (u32, u32),
        shared: &mut Pages,
        mark: u64,
    ) -> bool {
        if !self.is_reset() {
            return false;
        }
        // SAFETY: `is_reset()` above has found it installed; firmware waits for us.
        let pci = unsafe { self.io.as_ref() };
        let command = pci.configuration::<u16>(COMMAND);
        pci.set_configuration(COMMAND, command | MEMORY_AND_MASTER | NO_INTX);

        shared.clear();
        let hal = Shared {
            memory: shared.start(),
            bytes: shared.bytes(),
            notify: self.notify,
            doorbell: None,
            waited: &Cell::new(0),
        };
        let mut transport = self.transport();
        let is_shown = start(&mut transport, hal)
            .is_some_and(|mut control| draw(&mut control, picture, size).is_ok())
            && take_queue(&mut transport, hal, mark);
        if !is_shown {
            // What does not even do that reaches no memory.
            let _ = setup::reset(&mut transport, &hal);
        }
        // QEMU does not tell a device in a process of its own (vhost-user) of a reset of a queue.
        // By this it has it stop.
        let command = pci.configuration::<u16>(COMMAND);
        pci.set_configuration(COMMAND, command & !MASTER);
        is_shown
    }
}

/// Takes the queue from the device, which keeps what it shows and has a mark by which it is known.
/// Says whether that is so.
fn take_queue(transport: &mut Pci<Window>, hal: Shared<'_>, mark: u64) -> bool {
    transport.reset_queue(0);
    let is_reset = hal.wait(&mut || transport.is_queue_reset(0));
    transport.mark(0, mark);
    is_reset && transport.descriptors(0) == Some(mark)
}

fn start<'a>(transport: &mut Pci<Window>, hal: Shared<'a>) -> Option<Control<Shared<'a>>> {
    let wishes = Wishes {
        features: Features::RING_RESET,
        addresses: Addresses::Physical,
        adopts: false,
    };
    let place = |size| Ring::place(&hal, size);
    let agreed = setup::initialise(transport, &hal, wishes, place).ok()?;
    // The kernel will ask the same.
    let told = transport.driver_features()?;
    let hal = Shared {
        doorbell: Some(agreed.doorbell),
        ..hal
    };
    told.contains(Features::RING_RESET)
        .then(|| Control::new(Ring::new(hal, agreed.queue.size, agreed.features)))
}

fn draw(
    control: &mut Control<Shared<'_>>,
    picture: Pixels,
    (width, height): (u32, u32),
) -> Result<(), GpuError> {
    let entry = MemEntry::new(picture.at, picture.pitch * height);
    control.hal().copy_in(RING_BYTES, entry.as_bytes());
    let entry = Part {
        at: RING_BYTES,
        length: size_of::<MemEntry>(),
    };
    let all = Rect::new(0, 0, width, height);
    control.call(&ResourceCreate2d::new(RESOURCE, width, height), None)?;
    control.call(&ResourceAttachBacking::new(RESOURCE, 1), Some(entry))?;
    let mut posted = control.post(&TransferToHost2d::new(all, 0, RESOURCE))?;
    posted |= control.post(&SetScanout::new(all, SCANOUT, RESOURCE))?;
    posted |= control.post(&ResourceFlush::new(all, RESOURCE))?;
    posted |= control.post(&ResourceDetachBacking::new(RESOURCE))?;
    control.wait(posted)?;
    match control.refusals() {
        (_, Some(refusal)) => Err(GpuError::Refused(refusal)),
        _ => Ok(()),
    }
}

/// A piece of a BAR.
#[derive(Clone, Copy)]
struct Window {
    io: NonNull<PciIo>,
    bar: u8,
    offset: u64,
}

impl Window {
    /// The piece that a capability names.
    fn new(io: NonNull<PciIo>, place: Place) -> Result<Self, Why> {
        // SAFETY: `Device::new()`, the only caller, has found it installed.
        let pci = unsafe { io.as_ref() };
        let bar = bus_address(pci, place.bar).and_then(|address| pci.bar_at(address));
        match bar.filter(|bar| place.fits(bar.bytes)) {
            Some(bar) => Ok(Self {
                io,
                bar: bar.index,
                offset: place.offset.into(),
            }),
            None => Err(Why::Bar(place.bar)),
        }
    }

    fn read<T: Value>(&self, at: usize) -> T {
        // SAFETY: A window is used by its `Device` alone, in `new()`, `is_reset()` and `show()`,
        // which find it installed before.
        unsafe { self.io.as_ref() }.register(self.bar, self.offset + at as u64)
    }

    fn write<T: Value>(&self, at: usize, value: T) {
        // SAFETY: As above.
        unsafe { self.io.as_ref() }.set_register(self.bar, self.offset + at as u64, value);
    }
}

/// Where the BAR of this number, 0 to 5, is on the bus, if it is one of memory (PCI 3.0, section
/// 6.2.5.1).
fn bus_address(pci: &PciIo, bar: u8) -> Option<u64> {
    let at = BAR_0 + 4 * u16::from(bar);
    let low: u32 = pci.configuration(at);
    let high: u32 = match low & 7 {
        0 => 0,
        4 if bar < 5 => pci.configuration(at + 4),
        _ => return None,
    };
    Some((u64::from(high) << 32) | u64::from(low & !0xf))
}

impl Registers for Window {
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

/// The ring's memory, which the device sees as well, and its doorbell, as soon as that is known.
#[derive(Clone, Copy)]
struct Shared<'a> {
    memory: NonNull<u8>,
    bytes: usize,
    notify: Window,
    doorbell: Option<Doorbell>,
    /// Microseconds that the device was waited for so far.
    waited: &'a Cell<usize>,
}

impl Shared<'_> {
    /// Where the bytes from `at` on are, if they are in there, and as aligned as `T`.
    fn place<T>(&self, at: usize, count: usize) -> Option<NonNull<T>> {
        let end = size_of::<T>().checked_mul(count)?.checked_add(at)?;
        if end > self.bytes || at % align_of::<T>() != 0 {
            return None;
        }
        // SAFETY: `at` is at most `bytes`, the size of the pages from `memory` on, which are one
        // allocation.
        Some(unsafe { self.memory.add(at) }.cast())
    }

    fn load<T: FromBytes + Default>(&self, at: usize) -> T {
        match self.place(at, 1) {
            // SAFETY: `place()` has found it within the pages, and aligned: they begin at a page.
            // They are initialised, by the invariants of `Pages`, and every pattern of bytes is a
            // `T` (`FromBytes`). The device may write there meanwhile: the access is volatile.
            Some(place) => unsafe { place.read_volatile() },
            None => T::default(),
        }
    }

    fn store<T: IntoBytes>(&self, at: usize, value: T) {
        if let Some(place) = self.place(at, 1) {
            // SAFETY: As in `load()`. `show()` has borrowed the pages mutably as long as there is a
            // `Shared`: they are written by the device and through here alone. The value has no
            // padding (`IntoBytes`).
            unsafe { place.write_volatile(value) };
        }
    }
}

impl Hal for Shared<'_> {
    fn device_address(&self, at: usize) -> u64 {
        // Without ACCESS_PLATFORM these are physical addresses, and firmware maps memory one to
        // one.
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
        if let Some(doorbell) = self.doorbell {
            self.notify.write16(doorbell.offset, doorbell.queue);
        }
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        // Timers are off by now; to stall is to count. A look takes longer than a microsecond, so
        // that stalls become longer, and their sum is the time that has passed, about.
        let mut pause = 1;
        while !done() {
            let waited = self.waited.get();
            if waited >= PATIENCE {
                return false;
            }
            boot::stall(pause);
            self.waited.set(waited + pause);
            pause += pause.div_ceil(8);
        }
        true
    }
}
