// SPDX-License-Identifier: GPL-2.0

//! The events, from finding the screen to handing the device over.
//!
//! Memory is allocated as soon as there is a screen, and never at ExitBootServices(): its caller
//! has a memory map at that time, which must stay valid. At ExitBootServices() firmware calls all
//! notification functions, those of a higher task priority level (TPL) first. The order within a
//! level depends on when they were registered:
//!
//! 1. [`copy_notify`], at TPL_NOTIFY, copies the screen. The device still runs.
//! 2. VirtioGpuDxe's function, at TPL_CALLBACK, resets the device.
//! 3. [`defer_notify`], at TPL_CALLBACK, before or after VirtioGpuDxe's, signals another event.
//!    Firmware queues its function behind all functions that are queued already.
//! 4. [`bring_up_notify`] has the device show the copy, and resets its queue. After that the device
//!    has no address of memory, whatever system starts next.
//!
//! EDK2 calls them once, when it has found the memory map up to date. But the specification allows
//! a call of ExitBootServices() to shut down some of firmware and then fail (UEFI 2.10, section
//! 7.4.6). The boot loader then calls it again, so all of this may happen twice.

use crate::{
    device::{
        Device,
        DeviceError,
        Function,
        RESOURCE,
        SCANOUT,
        SHARED_BYTES, //
    },
    firmware::handoff::{
        cookie,
        Handoff,
        PixelBuffer, //
    },
    pages::Pages,
    pci::config::Address,
    screen::{
        cursor,
        Screen,
        PIXEL_BYTES, //
    },
    table::Table,
    try_lock::TryLock, //
};
use core::{
    ffi::c_void,
    fmt,
    ptr::NonNull, //
};
use uefi::{
    boot::{
        self,
        EventType,
        MemoryType,
        Tpl, //
    },
    guid,
    proto::console::gop::GraphicsOutput,
    Event,
    Guid,
    Identify,
    Result,
    Status, //
};

/// `EFI_EVENT_GROUP_READY_TO_BOOT` (UEFI 2.10, section 7.1.2).
static READY_TO_BOOT: Guid = guid!("7ce88fb3-4bd7-4679-87a8-a8d8dee50d2b");

static STATE: TryLock<State> = TryLock::new(State {
    table: None,
    shared: None,
    screen_state: None,
});

/// The reason why this driver cannot start.
pub(crate) enum StartError {
    /// The configuration table exists: another copy of the driver is loaded.
    AlreadyLoaded,
    /// Firmware refused to create an event.
    Events(Status),
}

/// Installs the configuration table, creates the events, and searches for a screen. Returns what
/// can be handed over at this time.
///
/// # Errors
///
/// [`StartError::AlreadyLoaded`] before anything was changed, [`StartError::Events`] if an event
/// cannot be created; some events may exist then.
pub(crate) fn start() -> core::result::Result<Prepared, StartError> {
    if Table::is_installed() {
        return Err(StartError::AlreadyLoaded);
    }
    // Install it now and not when there is a screen: another copy may be loaded before that.
    STATE.with(|state| state.table = Table::install().ok());
    listen().map_err(|error| StartError::Events(error.status()))?;
    // SAFETY: This does not lower the level, since firmware starts an image at TPL_APPLICATION
    // (UEFI 2.10, section 7.1: StartImage() is called below TPL_CALLBACK). It is raised so that
    // `prepare_notify()`, at TPL_CALLBACK, cannot interrupt this. Nothing below waits for an event.
    let _guard = unsafe { boot::raise_tpl(Tpl::CALLBACK) };
    let prepared = STATE.with(State::prepare);
    Ok(prepared.unwrap_or(Prepared::Nothing("it is being found")))
}

/// Creates the events.
fn listen() -> Result {
    const SIGNAL: EventType = EventType::NOTIFY_SIGNAL;
    const EXIT: EventType = EventType::SIGNAL_EXIT_BOOT_SERVICES;
    // SAFETY: The functions are valid as long as boot services are: firmware unloads this image
    // only if its entry point returns an error, which `main()` does not do once there is an event,
    // and the image has no function for UnloadImage() (UEFI 2.10, section 7.4.3). The GUID, and the
    // event that is a context, are valid as long, since nothing closes the event. The services that
    // the functions call are allowed at their levels and in ExitBootServices(), where they neither
    // allocate nor free memory.
    unsafe {
        let last = boot::create_event(SIGNAL, Tpl::CALLBACK, Some(bring_up_notify), None)?;
        let last = NonNull::new(last.as_ptr());
        boot::create_event(EXIT, Tpl::CALLBACK, Some(defer_notify), last)?;
        boot::create_event(EXIT, Tpl::NOTIFY, Some(copy_notify), None)?;
        let group = NonNull::from(&READY_TO_BOOT);
        boot::create_event_ex(
            SIGNAL,
            Tpl::CALLBACK,
            Some(prepare_notify),
            None,
            Some(group),
        )?;
        let appears = boot::create_event(SIGNAL, Tpl::CALLBACK, Some(prepare_notify), None)?;
        boot::register_protocol_notify(&GraphicsOutput::GUID, &appears)?;
    }
    Ok(())
}

/// Searches for the screen again: a GOP was installed, or the boot loader is about to start.
unsafe extern "efiapi" fn prepare_notify(_: Event, _: Option<NonNull<c_void>>) {
    // Print nothing: the screen belongs to the user at this time.
    let _ = STATE.with(State::prepare);
}

/// Copies the screen, before firmware resets the device.
unsafe extern "efiapi" fn copy_notify(_: Event, _: Option<NonNull<c_void>>) {
    STATE.with(State::hand_over_picture);
}

/// Signals the event `last`, whose function runs after firmware's reset of the device.
unsafe extern "efiapi" fn defer_notify(_: Event, last: Option<NonNull<c_void>>) {
    let Some(last) = last else { return };
    // SAFETY: `listen()` has created this event and passes it as the context to this function only.
    // Nothing closes it.
    if let Some(last) = unsafe { Event::from_ptr(last.as_ptr()) } {
        // If this fails, only the picture is handed over.
        let _ = boot::signal_event(&last);
    }
}

/// Has the device show the copy, after firmware's reset.
unsafe extern "efiapi" fn bring_up_notify(_: Event, _: Option<NonNull<c_void>>) {
    STATE.with(State::hand_over_device);
}

/// What will be handed over, for a line on the console.
pub(crate) enum Prepared {
    /// Nothing, and the reason.
    Nothing(&'static str),
    /// A picture, and the reason why the device is not handed over.
    Picture(DeviceError),
    /// The screen of this device.
    Screen((u16, Address)),
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(reason) => write!(f, "nothing goes on to the kernel yet: {reason}"),
            Self::Picture(reason) => write!(
                f,
                "a picture of the screen goes on to the kernel, which will be dark until that shows it: {reason}"
            ),
            Self::Screen((0, address)) => {
                write!(f, "the screen of PCI {address} goes on to the kernel")
            }
            Self::Screen((segment, address)) => {
                write!(f, "the screen of PCI {segment:04x}:{address} goes on to the kernel")
            }
        }
    }
}

/// The state of the driver.
struct State {
    table: Option<Table>,
    /// The memory for the virtqueue.
    shared: Option<Pages>,
    screen_state: Option<ScreenState>,
}

/// A screen, and what was prepared for it.
struct ScreenState {
    screen: Screen,
    address: Option<(u16, Address)>,
    device: core::result::Result<Device, DeviceError>,
    picture: Pages,
    /// The contents of the table, once they were written.
    handoff: Option<Handoff>,
}

impl State {
    /// Searches for the screen, and allocates the memory for the handoff.
    fn prepare(&mut self) -> Prepared {
        let old = self
            .screen_state
            .take()
            .map(|screen_state| screen_state.picture);
        let Some(screen) = Screen::find() else {
            // The screen no longer exists.
            if let Some(old) = old {
                old.free();
            }
            return Prepared::Nothing("no screen without a framebuffer, waiting for one");
        };
        let bytes = screen.max_mode_bytes();
        let picture = match old {
            Some(picture) if picture.bytes() >= bytes => picture,
            old => {
                if let Some(old) = old {
                    old.free();
                }
                match Pages::new(MemoryType::BOOT_SERVICES_DATA, bytes) {
                    Ok(new) => new,
                    Err(_) => return Prepared::Nothing("no memory for a picture"),
                }
            }
        };
        if self.table.is_none() {
            self.table = Table::install().ok();
        }
        if self.table.is_none() {
            picture.free();
            return Prepared::Nothing("no memory for a table");
        }
        let function = Function::of_screen(&screen);
        let address = function.as_ref().ok().map(|function| function.address);
        let device = function.and_then(Device::new).and_then(|device| {
            if self.shared.is_none() {
                self.shared = Pages::new(MemoryType::BOOT_SERVICES_DATA, SHARED_BYTES).ok();
            }
            self.shared
                .as_ref()
                .map(|_| device)
                .ok_or(DeviceError::Memory)
        });
        let prepared = match &device {
            _ if screen.mode_bytes() > picture.bytes() => Prepared::Nothing(
                "the screen's mode is too large; have firmware or the boot loader set 3840x2160 or less",
            ),
            Ok(device) => Prepared::Screen(device.address()),
            Err(error) => Prepared::Picture(*error),
        };
        self.screen_state = Some(ScreenState {
            screen,
            address,
            device,
            picture,
            handoff: None,
        });
        prepared
    }

    /// Copies the screen, and writes the table for the picture.
    fn hand_over_picture(&mut self) {
        let Self {
            table: Some(table),
            screen_state: Some(screen_state),
            ..
        } = self
        else {
            return;
        };
        let size = screen_state.screen.copy_to(&mut screen_state.picture);
        // At the second call of ExitBootServices(), keep the results of the first one.
        let (resource, cookie) = match screen_state.handoff.take() {
            Some(before) => (before.resource, before.cookie),
            None => (None, 0),
        };
        screen_state.handoff = size.map(|(width, height, checksum)| Handoff {
            device: screen_state.address,
            scanout: SCANOUT,
            width,
            height,
            resource,
            picture: Some(PixelBuffer {
                address: screen_state.picture.addresses().start,
                pitch: width * PIXEL_BYTES as u32,
                checksum,
            }),
            cursor: cursor(),
            cookie,
        });
        table.write(screen_state.handoff.as_ref());
    }

    /// Has the device show the picture, and writes the table with the result.
    fn hand_over_device(&mut self) {
        let Self {
            table: Some(table),
            shared: Some(shared),
            screen_state: Some(screen_state),
        } = self
        else {
            return;
        };
        let (Ok(device), Some(handoff)) = (&screen_state.device, &mut screen_state.handoff) else {
            return;
        };
        let Some(picture) = handoff.picture else {
            return;
        };
        // At the second call of ExitBootServices(), the device may still be as the first one left
        // it.
        if handoff.resource.is_none() || device.is_reset() {
            let size = (handoff.width, handoff.height);
            let cookie = cookie(picture.checksum);
            let is_shown = device.show(picture, size, shared, cookie);
            handoff.resource = is_shown.then_some(RESOURCE);
            handoff.cookie = if is_shown { cookie } else { 0 };
        }
        table.write(Some(handoff));
    }
}
