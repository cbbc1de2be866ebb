// SPDX-License-Identifier: GPL-2.0

//! A boot loader without an operating system, started in the shell of the firmware.
//!
//!     loader [WIDTHxHEIGHT] [again]
//!     loader [WIDTHxHEIGHT] [table=BYTES] [wait] back
//!     loader disconnect|reconnect back
//!
//! It sets a mode, if one is given, fills the screen with pixels that all differ from their
//! neighbours, and with text, prints "ready" and waits for a key. Then it calls ExitBootServices().
//! With `again`, it first signals the event group of ExitBootServices(), as firmware may do that
//! then finds the map outdated. After that it prints on the serial port the bytes of the handoff's
//! table, the types of the memory of the table and its picture, the duration of ExitBootServices(),
//! and "gone".
//!
//! With `back` it does not exit boot services and returns, after it has drawn in the given mode,
//! has installed a handoff's table of the given bytes in hexadecimal, or has hidden the cursor and
//! waited for a key; or after it has disconnected firmware's drivers from the device of each screen
//! without a framebuffer, and connected them again with `reconnect`.

#![no_std]
#![no_main]

use core::{
    ffi::c_void,
    fmt::Write,
    panic::PanicInfo,
    ptr::NonNull,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};
use uefi::{
    boot::{
        self,
        EventType,
        MemoryType,
        OpenProtocolAttributes,
        OpenProtocolParams,
        ScopedProtocol,
        SearchType,
        Tpl, //
    },
    entry,
    guid,
    mem::memory_map::MemoryMap,
    proto::{
        console::gop::{
            BltOp,
            BltPixel,
            BltRegion,
            GraphicsOutput,
            PixelFormat, //
        },
        device_path::DevicePath,
        loaded_image::LoadedImage,
        unsafe_protocol,
        ProtocolPointer, //
    },
    system,
    Event,
    Guid,
    Handle,
    Identify,
    Status, //
};

/// The handoff's table, as defined in drivers/firmware/handoff.rs.
const HANDOFF: Guid = guid!("585e675d-dee6-4f22-b455-ef3a668f5bd0");
const TABLE_BYTES: usize = 72;
const PICTURE: usize = 44;

/// `EFI_EVENT_GROUP_EXIT_BOOT_SERVICES` (UEFI 2.10, section 7.1.2).
static EXIT_BOOT_SERVICES: Guid = guid!("27abf055-b1b8-4c26-8048-748f37baa2df");

/// The maximum width of a mode.
const MAX_WIDTH: usize = 8192;

#[entry]
fn main() -> Status {
    let mut arguments = Arguments::default();
    if let Ok(image) = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle()) {
        arguments.read(image.load_options_as_bytes().unwrap_or_default());
    }
    if arguments.back {
        if arguments.mode.is_some() {
            draw(arguments.mode);
        }
        if arguments.wait {
            let _ = system::with_stdout(|out| out.enable_cursor(false));
            wait_for_key();
        }
        if arguments.disconnect || arguments.reconnect {
            disconnect(arguments.reconnect);
        }
        return match arguments.has_table {
            true => install(arguments.table),
            false => Status::SUCCESS,
        };
    }
    draw(arguments.mode);
    system::with_stdout(|out| {
        let _ = writeln!(out, "loader: the last text before ExitBootServices()");
        let _ = writeln!(out, "loader: ready");
    });
    wait_for_key();
    let table = system::with_config_table(|tables| {
        let entry = tables.iter().find(|entry| entry.guid == HANDOFF);
        entry.map(|entry| entry.address.cast::<[u8; TABLE_BYTES]>())
    });
    if arguments.again {
        signal_exit();
    }
    // SAFETY: Its context is not used, and the function exists until boot services end.
    let _ = unsafe {
        boot::create_event(
            EventType::SIGNAL_EXIT_BOOT_SERVICES,
            Tpl::CALLBACK,
            Some(record_begin),
            None,
        )
    };
    // SAFETY: Nothing of boot services is used after this call.
    let map = unsafe { boot::exit_boot_services(Some(MemoryType::LOADER_DATA)) };
    let ended = clock::now();
    if let Some(table) = table {
        // SAFETY: The table is in memory that no other code changes before it is read.
        let bytes = unsafe { table.read_volatile() };
        serial::print(b"loader: table ");
        bytes.iter().for_each(|&byte| serial::print_hex(byte));
        serial::print(b"\r\nloader: kinds ");
        for at in [table as u64, number(&bytes, PICTURE)] {
            serial::print_hex(kind(&map, at));
        }
        serial::print(b"\r\n");
    }
    serial::print(b"loader: took 0x");
    let took = clock::nanoseconds(ended.wrapping_sub(BEGUN.load(Ordering::Relaxed)));
    took.to_be_bytes().map(serial::print_hex);
    serial::print(b" ns\r\nloader: gone\r\n");
    spin()
}

/// Installs a table.
fn install(bytes: [u8; TABLE_BYTES]) -> Status {
    let Ok(memory) = boot::allocate_pool(MemoryType::ACPI_RECLAIM, TABLE_BYTES) else {
        return Status::OUT_OF_RESOURCES;
    };
    // SAFETY: The memory has that size, has no other user, and stays for the readers of the table.
    let installed = unsafe {
        memory.cast().write_unaligned(bytes);
        boot::install_configuration_table(&HANDOFF, memory.as_ptr().cast())
    };
    installed.map_or_else(|error| error.status(), |()| Status::SUCCESS)
}

/// Returns the eight bytes at an offset of the table.
fn number(table: &[u8; TABLE_BYTES], at: usize) -> u64 {
    let bytes = table
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

/// Returns the type of the memory at an address, 0xff if the map does not contain it.
fn kind(map: &impl MemoryMap, at: u64) -> u8 {
    let mut areas = map.entries();
    let area = areas.find(|area| {
        let pages = at.checked_sub(area.phys_start).map(|bytes| bytes >> 12);
        pages.is_some_and(|pages| pages < area.page_count)
    });
    area.map_or(0xff, |area| u8::try_from(area.ty.0).unwrap_or(0xfe))
}

/// The time at which firmware called its notification functions of TPL_CALLBACK. EDK2 calls the
/// function that was registered last first, which is before VirtioGpuDxe resets the device.
static BEGUN: AtomicU64 = AtomicU64::new(0);

unsafe extern "efiapi" fn record_begin(_: Event, _: Option<NonNull<c_void>>) {
    BEGUN.store(clock::now(), Ordering::Relaxed);
}

/// The arguments of the loader.
struct Arguments {
    mode: Option<(usize, usize)>,
    again: bool,
    back: bool,
    wait: bool,
    disconnect: bool,
    reconnect: bool,
    table: [u8; TABLE_BYTES],
    has_table: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            mode: None,
            again: false,
            back: false,
            wait: false,
            disconnect: false,
            reconnect: false,
            table: [0; TABLE_BYTES],
            has_table: false,
        }
    }
}

impl Arguments {
    /// Parses arguments in UCS-2.
    fn read(&mut self, bytes: &[u8]) {
        let mut text = [0; 256];
        let letters = bytes.chunks_exact(2).map(|pair| match pair {
            [letter @ 1..=0x7f, 0] => *letter,
            _ => b' ',
        });
        for (into, letter) in text.iter_mut().zip(letters) {
            *into = letter;
        }
        let text = core::str::from_utf8(&text).unwrap_or_default();
        for word in text.split([' ', '\0']) {
            self.again |= word == "again";
            self.back |= word == "back";
            self.wait |= word == "wait";
            self.disconnect |= word == "disconnect";
            self.reconnect |= word == "reconnect";
            if let Some(digits) = word.strip_prefix("table=") {
                self.has_table = true;
                for (at, into) in self.table.iter_mut().enumerate() {
                    let digits = digits.get(2 * at..2 * at + 2).unwrap_or_default();
                    *into = u8::from_str_radix(digits, 16).unwrap_or(0);
                }
            } else if let Some((width, height)) = word.split_once('x') {
                self.mode = width.parse().ok().zip(height.parse().ok()).or(self.mode);
            }
        }
    }
}

/// Opens a protocol of `handle`, which other users keep open.
///
/// # Safety
///
/// The protocol must not be uninstalled before the result is dropped.
unsafe fn get<P: ProtocolPointer + ?Sized>(handle: Handle) -> Option<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: By the safety requirement.
    unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }.ok()
}

/// Calls `f` with every screen without a framebuffer, and its handle.
fn screens(mut f: impl FnMut(Handle, ScopedProtocol<GraphicsOutput>)) {
    let Ok(handles) = boot::locate_handle_buffer(SearchType::ByProtocol(&GraphicsOutput::GUID))
    else {
        return;
    };
    for &handle in handles.iter() {
        // SAFETY: `f` drops the protocol before it disconnects its driver.
        if let Some(gop) = unsafe { get::<GraphicsOutput>(handle) } {
            if gop.current_mode_info().pixel_format() == PixelFormat::BltOnly {
                f(handle, gop);
            }
        }
    }
}

/// `EFI_PCI_IO_PROTOCOL` (UEFI 2.10, section 14.4), of which only the location is used.
#[unsafe_protocol("4cf5b200-68b8-4ca5-9eec-b23e3f50029a")]
struct PciIo;

/// Disconnects firmware's drivers from the PCI function of every screen without a framebuffer.
fn disconnect(and_connect: bool) {
    screens(|screen, gop| {
        drop(gop);
        // SAFETY: It is last used in the next statement, before anything is disconnected.
        let Some(path) = (unsafe { get::<DevicePath>(screen) }) else {
            return;
        };
        let function = boot::locate_device_path::<PciIo>(&mut &*path);
        drop(path);
        let Ok(function) = function else { return };
        let _ = boot::disconnect_controller(function, None, None);
        if and_connect {
            let _ = boot::connect_controller(function, None, None, true);
        }
    });
}

/// Draws on every screen without a framebuffer.
fn draw(wanted: Option<(usize, usize)>) {
    screens(|_, mut gop| {
        let mode = gop
            .modes()
            .find(|mode| Some(mode.info().resolution()) == wanted);
        if let Some(mode) = mode {
            let _ = gop.set_mode(&mode);
        }
        let (width, height) = gop.current_mode_info().resolution();
        let mut row = [BltPixel::new(0, 0, 0); MAX_WIDTH];
        for y in 0..height {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = BltPixel::new(x as u8, y as u8, (x / 256 * 16 + y / 256) as u8);
            }
            let _ = gop.blt(BltOp::BufferToVideo {
                buffer: &row,
                src: BltRegion::Full,
                dest: (0, y),
                dims: (width.min(MAX_WIDTH), 1),
            });
        }
    });
}

fn wait_for_key() {
    let event = system::with_stdin(|keys| {
        let _ = keys.reset(false);
        keys.wait_for_key_event()
    });
    if let Some(event) = event {
        let _ = boot::wait_for_event(&mut [event]);
    }
}

/// Signals the event group of ExitBootServices().
fn signal_exit() {
    // SAFETY: The group's GUID is static, and the notification function may run at any time.
    let event = unsafe {
        let group = NonNull::from(&EXIT_BOOT_SERVICES);
        let signal = EventType::NOTIFY_SIGNAL;
        boot::create_event_ex(signal, Tpl::CALLBACK, Some(record_begin), None, Some(group))
    };
    if let Ok(event) = event {
        let _ = boot::signal_event(&event);
    }
}

/// The CPU's counter, which is independent of firmware's timers.
mod clock {
    #[cfg(target_arch = "aarch64")]
    pub fn now() -> u64 {
        let now;
        // SAFETY: Reads the virtual counter, which is accessible at every exception level.
        unsafe {
            core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) now, options(nomem, nostack))
        };
        now
    }

    #[cfg(target_arch = "aarch64")]
    pub fn nanoseconds(ticks: u64) -> u64 {
        let frequency: u64;
        // SAFETY: As above.
        unsafe {
            core::arch::asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack))
        };
        ticks.saturating_mul(1_000_000_000) / frequency.max(1)
    }

    #[cfg(target_arch = "x86_64")]
    pub fn now() -> u64 {
        // SAFETY: Every x86_64 CPU has it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// QEMU's emulation counts nanoseconds.
    #[cfg(target_arch = "x86_64")]
    pub fn nanoseconds(ticks: u64) -> u64 {
        ticks
    }
}

/// The first serial port of QEMU's machines, used without firmware.
mod serial {
    /// Prints bytes.
    pub fn print(text: &[u8]) {
        for &byte in text {
            put(byte);
        }
    }

    /// Prints a byte in two hexadecimal digits.
    pub fn print_hex(byte: u8) {
        for digit in [byte >> 4, byte & 0xf] {
            put(match digit {
                0..=9 => b'0' + digit,
                _ => b'a' - 10 + digit,
            });
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn put(byte: u8) {
        // SAFETY: The data register of the virt machine's PL011, which firmware has mapped and set
        // up. A real PL011 would lose bytes at this speed; QEMU's does not.
        unsafe { core::ptr::write_volatile(0x0900_0000 as *mut u32, byte.into()) };
    }

    #[cfg(target_arch = "x86_64")]
    fn put(byte: u8) {
        // SAFETY: The data register of the PC's first 16550, which has no other user any more. A
        // real 16550 would lose bytes at this speed; QEMU's does not.
        unsafe {
            core::arch::asm!("out dx, al", in("dx") 0x3f8_u16, in("al") byte, options(nomem, nostack))
        };
    }
}

fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    serial::print(b"loader: panicked\r\n");
    spin()
}
