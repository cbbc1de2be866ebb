// SPDX-License-Identifier: GPL-2.0

//! The events, from finding the screen to lighting it again.
//!
//! Memory is taken as soon as there is a screen, and never at the end: who calls ExitBootServices()
//! has a map of the memory by then, which must stay true. At the end, firmware calls all functions
//! that wait for it, those of a higher task priority level (TPL) first and those of one level in an
//! order that depends on when they were registered:
//!
//! 1. [`keep`], at TPL_NOTIFY, copies the screen. The device runs still.
//! 2. VirtioGpuDxe's, at TPL_CALLBACK, resets the device.
//! 3. [`defer`], at TPL_CALLBACK, before or after that one, signals an event whose function is
//!    thereby called after all that already wait to be:
//! 4. [`light`] has the device show the copy, and takes the queue from it: whatever system comes
//!    next, the device knows no address of memory.
//!
//! EDK2 calls them once, when it has found the map up to date. But the specification lets firmware
//! begin to shut down in a call that then fails (UEFI 2.10, section 7.4.6), after which the boot
//! loader calls ExitBootServices() again: so all of this may happen twice.

use crate::{
    device::{
        Device,
        Function,
        Why,
        RESOURCE,
        SCANOUT,
        SHARED_BYTES, //
    },
    firmware::handoff::{
        mark,
        Handoff,
        Pixels, //
    },
    owned::Owned,
    pages::Pages,
    pci::Address,
    screen::{
        cursor,
        Screen,
        PIXEL, //
    },
    table::Table, //
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

static STATE: Owned<State> = Owned::new(State {
    table: None,
    shared: None,
    found: None,
});

/// Why there is nothing to do for this driver.
pub(crate) enum Refusal {
    /// There is a table already.
    Loaded,
    /// Firmware calls nobody.
    Events(Status),
}

/// Waits for a screen, and for firmware's end; says what there is by now.
///
/// # Errors
///
/// [`Refusal::Loaded`] before anything was done; otherwise there are events.
pub(crate) fn start() -> core::result::Result<Prepared, Refusal> {
    if Table::is_installed() {
        return Err(Refusal::Loaded);
    }
    // At once, and not when there is a screen: another copy may be loaded before that.
    STATE.with(|state| state.table = Table::install().ok());
    listen().map_err(|error| Refusal::Events(error.status()))?;
    // SAFETY: The level is not lowered by this: firmware starts an image at TPL_APPLICATION (UEFI
    // 2.10, section 7.1, has StartImage() below TPL_CALLBACK). It is raised so that the functions
    // which prepare as well, at TPL_CALLBACK, do not interrupt this. Nothing below waits for
    // anything.
    let _guard = unsafe { boot::raise_tpl(Tpl::CALLBACK) };
    let prepared = STATE.with(State::prepare);
    Ok(prepared.unwrap_or(Prepared::Nothing("it is being found")))
}

/// Has firmware call us.
fn listen() -> Result {
    const SIGNAL: EventType = EventType::NOTIFY_SIGNAL;
    const EXIT: EventType = EventType::SIGNAL_EXIT_BOOT_SERVICES;
    // SAFETY: The functions stay as long as boot services do: this image is unloaded only if its
    // entry point returns an error, which `main()` does not do once there is an event, since it has
    // no function for UnloadImage() (UEFI 2.10, section 7.4.3). So do the GUID, and the event that
    // is the context of one, which nobody closes. What they call may be called at their level, and
    // in ExitBootServices(): at the end, no memory is allocated or freed.
    unsafe {
        let last = boot::create_event(SIGNAL, Tpl::CALLBACK, Some(light), None)?;
        let last = NonNull::new(last.as_ptr());
        boot::create_event(EXIT, Tpl::CALLBACK, Some(defer), last)?;
        boot::create_event(EXIT, Tpl::NOTIFY, Some(keep), None)?;
        let group = NonNull::from(&READY_TO_BOOT);
        boot::create_event_ex(SIGNAL, Tpl::CALLBACK, Some(prepare), None, Some(group))?;
        let appears = boot::create_event(SIGNAL, Tpl::CALLBACK, Some(prepare), None)?;
        boot::register_protocol_notify(&GraphicsOutput::GUID, &appears)?;
    }
    Ok(())
}

unsafe extern "efiapi" fn prepare(_: Event, _: Option<NonNull<c_void>>) {
    // Nobody is told: what is on the screen by now is the user's.
    let _ = STATE.with(State::prepare);
}

unsafe extern "efiapi" fn keep(_: Event, _: Option<NonNull<c_void>>) {
    STATE.with(State::keep);
}

unsafe extern "efiapi" fn defer(_: Event, last: Option<NonNull<c_void>>) {
    let Some(last) = last else { return };
    // SAFETY: It is the event that `listen()` has made, and passed as the context of this function
    // alone. Nobody closes it.
    if let Some(last) = unsafe { Event::from_ptr(last.as_ptr()) } {
        // Without it, the picture alone is handed over.
        let _ = boot::signal_event(&last);
    }
}

unsafe extern "efiapi" fn light(_: Event, _: Option<NonNull<c_void>>) {
    STATE.with(State::light);
}

/// What will be handed over, for a line on the console.
pub(crate) enum Prepared {
    /// Nothing, for this reason.
    Nothing(&'static str),
    /// A picture, and not the device, for that reason.
    Picture(Why),
    /// The screen of this device, as it is.
    Screen((u16, Address)),
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(why) => write!(f, "nothing goes on to the kernel yet: {why}"),
            Self::Picture(why) => write!(
                f,
                "a picture of the screen goes on to the kernel, which will be dark until that shows it: {why}"
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

/// All that there is.
struct State {
    table: Option<Table>,
    /// The ring's memory.
    shared: Option<Pages>,
    found: Option<Found>,
}

/// A screen, and what becomes of it.
struct Found {
    screen: Screen,
    address: Option<(u16, Address)>,
    device: core::result::Result<Device, Why>,
    picture: Pages,
    /// What was handed over so far.
    handoff: Option<Handoff>,
}

impl State {
    /// Finds the screen, and takes memory for what will be handed over.
    fn prepare(&mut self) -> Prepared {
        let old = self.found.take().map(|found| found.picture);
        let Some(screen) = Screen::find() else {
            // The one that was there is gone.
            if let Some(old) = old {
                old.free();
            }
            return Prepared::Nothing("no screen without a framebuffer, waiting for one");
        };
        let bytes = screen.largest();
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
        let function = Function::behind(&screen);
        let address = function.as_ref().ok().map(|function| function.address);
        let device = function.and_then(Device::new).and_then(|device| {
            if self.shared.is_none() {
                self.shared = Pages::new(MemoryType::BOOT_SERVICES_DATA, SHARED_BYTES).ok();
            }
            self.shared.as_ref().map(|_| device).ok_or(Why::Memory)
        });
        let prepared = match &device {
            _ if screen.bytes() > picture.bytes() => Prepared::Nothing(
                "the screen's mode is too large; have firmware or the boot loader set 3840x2160 or less",
            ),
            Ok(device) => Prepared::Screen(device.address()),
            Err(why) => Prepared::Picture(*why),
        };
        self.found = Some(Found {
            screen,
            address,
            device,
            picture,
            handoff: None,
        });
        prepared
    }

    /// Hands the picture over.
    fn keep(&mut self) {
        let Self {
            table: Some(table),
            found: Some(found),
            ..
        } = self
        else {
            return;
        };
        let size = found.screen.copy(&mut found.picture);
        // As the first time that firmware ended has left it.
        let (live, mark) = match found.handoff.take() {
            Some(before) => (before.live, before.mark),
            None => (None, 0),
        };
        found.handoff = size.map(|(width, height, sum)| Handoff {
            device: found.address,
            scanout: SCANOUT,
            width,
            height,
            live,
            picture: Some(Pixels {
                at: found.picture.addresses().start,
                pitch: width * PIXEL as u32,
                sum,
            }),
            cursor: cursor(),
            mark,
        });
        table.say(found.handoff.as_ref());
    }

    /// Hands the device over as well, if that shows the picture.
    fn light(&mut self) {
        let Self {
            table: Some(table),
            shared: Some(shared),
            found: Some(found),
        } = self
        else {
            return;
        };
        let (Ok(device), Some(handoff)) = (&found.device, &mut found.handoff) else {
            return;
        };
        let Some(picture) = handoff.picture else {
            return;
        };
        // The second time that firmware ends, it may have been left as the first time left it.
        if handoff.live.is_none() || device.is_reset() {
            let size = (handoff.width, handoff.height);
            let mark = mark(picture.sum);
            let is_shown = device.show(picture, size, shared, mark);
            handoff.live = is_shown.then_some(RESOURCE);
            handoff.mark = if is_shown { mark } else { 0 };
        }
        table.say(Some(handoff));
    }
}
