// SPDX-License-Identifier: GPL-2.0

//! Firmware's way to a PCI function: `EFI_PCI_IO_PROTOCOL` (UEFI 2.10, section 14.4).
//!
//! Registers are reached through it as well. That is slower than a load or a store, but firmware
//! keeps within the BAR, and knows how the host bridge translates addresses.

use core::{
    ffi::c_void,
    ptr::NonNull, //
};
use uefi::{
    boot,
    proto::unsafe_protocol,
    Status, //
};

/// A function of the protocol's that is not used here.
type Unused = usize;

/// `EFI_PCI_IO_PROTOCOL_WIDTH`, for values of one, two and four bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Width(u32);

/// What can be read and written: `T` values, all of whose bit patterns are valid.
pub(crate) trait Value: Copy {
    /// What is read of something that is not there.
    const NOTHING: Self;
    /// How firmware calls its size.
    #[allow(private_interfaces)]
    const WIDTH: Width;
}

impl Value for u8 {
    const NOTHING: Self = Self::MAX;
    #[allow(private_interfaces)]
    const WIDTH: Width = Width(0);
}

impl Value for u16 {
    const NOTHING: Self = Self::MAX;
    #[allow(private_interfaces)]
    const WIDTH: Width = Width(1);
}

impl Value for u32 {
    const NOTHING: Self = Self::MAX;
    #[allow(private_interfaces)]
    const WIDTH: Width = Width(2);
}

type Memory = unsafe extern "efiapi" fn(
    this: *const PciIo,
    width: Width,
    bar: u8,
    offset: u64,
    count: usize,
    buffer: *mut c_void,
) -> Status;

type Configuration = unsafe extern "efiapi" fn(
    this: *const PciIo,
    width: Width,
    offset: u32,
    count: usize,
    buffer: *mut c_void,
) -> Status;

/// The protocol.
#[repr(C)]
#[unsafe_protocol("4cf5b200-68b8-4ca5-9eec-b23e3f50029a")]
pub(crate) struct PciIo {
    poll: [Unused; 2],
    memory_read: Memory,
    memory_write: Memory,
    ports: [Unused; 2],
    configuration_read: Configuration,
    configuration_write: Configuration,
    copy: Unused,
    dma: [Unused; 5],
    get_location: unsafe extern "efiapi" fn(
        this: *const PciIo,
        segment: *mut usize,
        bus: *mut usize,
        device: *mut usize,
        function: *mut usize,
    ) -> Status,
    attributes: Unused,
    get_bar_attributes: unsafe extern "efiapi" fn(
        this: *const PciIo,
        bar: u8,
        supports: *mut u64,
        resources: *mut *mut c_void,
    ) -> Status,
    set_bar_attributes: Unused,
    rom_size: u64,
    rom_image: *mut c_void,
}

/// Where a function is: segment, bus, device, function.
pub(crate) type Location = [usize; 4];

/// What firmware knows of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// What it calls it: not the number of its register, where others are of 64 bits.
    pub(crate) index: u8,
    /// Its address on the bus.
    pub(crate) address: u64,
    /// How many bytes it has.
    pub(crate) bytes: u64,
}

/// How many BARs there are at most.
const BARS: u8 = 6;

impl PciIo {
    /// Where the function is.
    pub(crate) fn location(&self) -> Option<Location> {
        let mut location = [0; 4];
        let [segment, bus, device, function] = &mut location;
        // SAFETY: `self` is in firmware's memory, which `boot::open_protocol()` has given for this
        // protocol's GUID: its functions are there, and of these types (UEFI 2.10, section 14.4).
        // This one writes one number each.
        let status = unsafe { (self.get_location)(self, segment, bus, device, function) };
        status.is_success().then_some(location)
    }

    /// A register in configuration space, at a multiple of its size.
    pub(crate) fn configuration<T: Value>(&self, offset: u16) -> T {
        let mut value = T::NOTHING;
        let into = (&raw mut value).cast();
        // SAFETY: As in `location()`. With this width and count the function writes one value of
        // the size of a `T`, or nothing, and `value` stays.
        let _ = unsafe { (self.configuration_read)(self, T::WIDTH, offset.into(), 1, into) };
        value
    }

    /// Writes such a register.
    pub(crate) fn set_configuration<T: Value>(&self, offset: u16, mut value: T) {
        let from = (&raw mut value).cast();
        // SAFETY: As in `location()`. With this width and count the function reads one value of the
        // size of a `T`. The caller sets bits of the command register alone: decoding, interrupts,
        // bus mastering. With that the device reaches memory that its queue names, see
        // `set_register()`.
        let _ = unsafe { (self.configuration_write)(self, T::WIDTH, offset.into(), 1, from) };
    }

    /// A register in the BAR that firmware calls `bar`.
    pub(crate) fn register<T: Value>(&self, bar: u8, offset: u64) -> T {
        let mut value = T::NOTHING;
        let into = (&raw mut value).cast();
        // SAFETY: As in `configuration()`. Firmware refuses what is not within the BAR.
        let _ = unsafe { (self.memory_read)(self, T::WIDTH, bar, offset, 1, into) };
        value
    }

    /// Writes such a register.
    pub(crate) fn set_register<T: Value>(&self, bar: u8, offset: u64, mut value: T) {
        let from = (&raw mut value).cast();
        // SAFETY: As in `set_configuration()`. Firmware refuses what is not within the BAR. A
        // device may write to the memory that its queue names, which is ours: `Device::show()`
        // gives it the ring in `State::shared`, whose pages stay until it has no queue any more.
        let _ = unsafe { (self.memory_write)(self, T::WIDTH, bar, offset, 1, from) };
    }

    /// The BAR at this address on the bus.
    pub(crate) fn bar_at(&self, address: u64) -> Option<Bar> {
        (0..BARS)
            .filter_map(|index| self.bar(index))
            .find(|bar| bar.address == address)
    }

    fn bar(&self, index: u8) -> Option<Bar> {
        let mut resources = core::ptr::null_mut();
        // SAFETY: As in `location()`. This function writes a pointer; the other place may be null.
        let status = unsafe {
            (self.get_bar_attributes)(self, index, core::ptr::null_mut(), &mut resources)
        };
        let resources = NonNull::new(resources.cast::<u8>()).filter(|_| status.is_success())?;
        // SAFETY: With success, firmware has allocated a list of resource descriptors (UEFI 2.10,
        // section 14.4), initialised. It is at least an end tag, of two bytes; where it begins with
        // another descriptor, that has its three bytes of tag and length, and as many as they say.
        // No byte is read before those that tell that it is there; bytes need no alignment.
        let descriptor = unsafe {
            let at = resources.cast::<[u8; 3]>();
            (resources.read() == QWORD && at.read() == [QWORD, QWORD_BYTES, 0])
                .then(|| resources.cast::<[u8; 3 + QWORD_BYTES as usize]>().read())
        };
        // SAFETY: The list is from the pool and the caller's to free (section 14.4). What is needed
        // was copied, and nobody has a reference to it. If it cannot be freed it is lost.
        let _ = unsafe { boot::free_pool(resources) };
        let descriptor = descriptor?;
        let number = |at: usize| {
            let bytes = descriptor.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        // Of type memory. Addresses are the CPU's: the bus has the sum of one and the offset.
        (descriptor.get(3) == Some(&0)).then_some(Bar {
            index,
            address: number(14)?.wrapping_add(number(30)?),
            bytes: number(38)?,
        })
    }
}

/// ACPI's QWORD Address Space Descriptor (ACPI 6.5, section 6.4.3.5.1): its tag, and the bytes that
/// follow tag and length.
const QWORD: u8 = 0x8a;
const QWORD_BYTES: u8 = 43;
