// SPDX-License-Identifier: GPL-2.0

//! Access to a PCI function through firmware: `EFI_PCI_IO_PROTOCOL` (UEFI 2.10, section 14.4).
//!
//! Registers are accessed through it as well. This is slower than loads and stores, but firmware
//! checks the bounds of the BAR, and applies the host bridge's address translation.

use core::{
    ffi::c_void,
    ptr::NonNull, //
};
use uefi::{
    boot,
    proto::unsafe_protocol,
    Status, //
};

/// A function of the protocol that is not used here.
type Unused = usize;

/// `EFI_PCI_IO_PROTOCOL_WIDTH`, for values of one, two and four bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Width(u32);

/// A value that can be read and written. Any bytes are a valid value.
pub(crate) trait Value: Copy {
    /// The value of a register that does not exist.
    const ABSENT: Self;
    /// The width of the value.
    #[allow(private_interfaces)]
    const WIDTH: Width;
}

impl Value for u8 {
    const ABSENT: Self = Self::MAX;
    #[allow(private_interfaces)]
    const WIDTH: Width = Width(0);
}

impl Value for u16 {
    const ABSENT: Self = Self::MAX;
    #[allow(private_interfaces)]
    const WIDTH: Width = Width(1);
}

impl Value for u32 {
    const ABSENT: Self = Self::MAX;
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

/// `EFI_PCI_IO_PROTOCOL`.
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

/// The address of a function: segment, bus, device, function.
pub(crate) type Location = [usize; 4];

/// A BAR, as firmware describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Firmware's index of the BAR. It differs from the number of the register behind a 64-bit BAR.
    pub(crate) index: u8,
    /// Address on the PCI bus.
    pub(crate) address: u64,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

/// The limit for the number of BARs.
const BAR_COUNT: u8 = 6;

impl PciIo {
    /// Returns the address of the function, [`None`] if firmware does not know it.
    pub(crate) fn location(&self) -> Option<Location> {
        let mut location = [0; 4];
        let [segment, bus, device, function] = &mut location;
        // SAFETY: `self` is the protocol in firmware's memory, from `boot::open_protocol()` with
        // its GUID, so that the functions exist and have these types (UEFI 2.10, section 14.4).
        // This one writes a number to each of the four pointers.
        let status = unsafe { (self.get_location)(self, segment, bus, device, function) };
        status.is_success().then_some(location)
    }

    /// Reads a register in configuration space. `offset` is a multiple of its size.
    pub(crate) fn read_config<T: Value>(&self, offset: u16) -> T {
        let mut value = T::ABSENT;
        let into = (&raw mut value).cast();
        // SAFETY: As in `location()`. With this width and count the function writes one value of
        // the size of a `T`, or nothing, which leaves `value` as it is.
        let _ = unsafe { (self.configuration_read)(self, T::WIDTH, offset.into(), 1, into) };
        value
    }

    /// Writes a register in configuration space. `offset` is a multiple of its size.
    pub(crate) fn write_config<T: Value>(&self, offset: u16, mut value: T) {
        let from = (&raw mut value).cast();
        // SAFETY: As in `location()`. With this width and count the function reads one value of the
        // size of a `T`. The caller only changes bits of the command register: decoding, interrupts
        // and bus mastering. Bus mastering lets the device access the memory of its queue, see
        // `write_bar()`.
        let _ = unsafe { (self.configuration_write)(self, T::WIDTH, offset.into(), 1, from) };
    }

    /// Reads a register in the BAR with firmware's index `bar`.
    pub(crate) fn read_bar<T: Value>(&self, bar: u8, offset: u64) -> T {
        let mut value = T::ABSENT;
        let into = (&raw mut value).cast();
        // SAFETY: As in `read_config()`. Firmware refuses an offset outside of the BAR.
        let _ = unsafe { (self.memory_read)(self, T::WIDTH, bar, offset, 1, into) };
        value
    }

    /// Writes a register in the BAR with firmware's index `bar`.
    pub(crate) fn write_bar<T: Value>(&self, bar: u8, offset: u64, mut value: T) {
        let from = (&raw mut value).cast();
        // SAFETY: As in `write_config()`. Firmware refuses an offset outside of the BAR. The device
        // may write to the memory of its queue. This memory is this driver's own: `Device::show()`
        // uses the pages of `State::shared`, which are allocated until the device has no queue any
        // more.
        let _ = unsafe { (self.memory_write)(self, T::WIDTH, bar, offset, 1, from) };
    }

    /// Returns the BAR with this address on the PCI bus.
    pub(crate) fn bar_at(&self, address: u64) -> Option<Bar> {
        (0..BAR_COUNT)
            .filter_map(|index| self.bar(index))
            .find(|bar| bar.address == address)
    }

    fn bar(&self, index: u8) -> Option<Bar> {
        let mut resources = core::ptr::null_mut();
        // SAFETY: As in `location()`. This function writes one pointer; the other argument may be
        // null.
        let status = unsafe {
            (self.get_bar_attributes)(self, index, core::ptr::null_mut(), &mut resources)
        };
        let resources = NonNull::new(resources.cast::<u8>()).filter(|_| status.is_success())?;
        // SAFETY: On success, firmware has allocated and initialised a list of resource descriptors
        // (UEFI 2.10, section 14.4). It contains at least an end tag of two bytes. If it begins
        // with another descriptor, that has three bytes of tag and length, and as many bytes as the
        // length says. Each read happens only after the bytes before have shown that these bytes
        // exist; bytes need no alignment.
        let descriptor = unsafe {
            let at = resources.cast::<[u8; 3]>();
            (resources.read() == QWORD && at.read() == [QWORD, QWORD_LENGTH, 0])
                .then(|| resources.cast::<[u8; 3 + QWORD_LENGTH as usize]>().read())
        };
        // SAFETY: The list is from the pool, and the caller has to free it (section 14.4). There is
        // no reference to it any more. If firmware refuses, it leaks.
        let _ = unsafe { boot::free_pool(resources) };
        let descriptor = descriptor?;
        let number = |at: usize| {
            let bytes = descriptor.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        // Type 0 is memory. The addresses are the CPU's: the address on the bus is the sum of the
        // address and the translation offset.
        (descriptor.get(3) == Some(&0)).then_some(Bar {
            index,
            address: number(14)?.wrapping_add(number(30)?),
            bytes: number(38)?,
        })
    }
}

/// ACPI's QWORD Address Space Descriptor (ACPI 6.5, section 6.4.3.5.1): its tag, and the number of
/// bytes that follow the tag and the length.
const QWORD: u8 = 0x8a;
const QWORD_LENGTH: u8 = 43;
