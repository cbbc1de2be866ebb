// SPDX-License-Identifier: GPL-2.0

//! The device that is our screen: who can reach it, and who has it.
//!
//! ```text
//!   found ----> running <---> paused    before the driver core knows it: the PCI core moves BARs
//!                  |
//!                probe
//!                  v
//!                held                   bound to us
//!                 | ^
//!          remove | | probe
//!         suspend | | resume
//!                 v |
//!                dark                   somebody else's, or asleep: there is no log
//! ```

use core::{
    fmt,
    sync::atomic::{
        AtomicBool,
        AtomicU64,
        AtomicUsize,
        Ordering, //
    },
};

use kernel::{
    bindings,
    error::{
        code::ENODEV,
        Result, //
    },
    pr_info,
};

#[cfg(CONFIG_VT)]
use crate::console::vt;
use crate::{
    console::{
        nbcon::{
            self,
            Reader, //
        },
        pacing,
        preferred, //
    },
    device::{
        boot_picture,
        bound::{
            Held,
            State,
            Stop, //
        },
        bring_up::{
            self,
            Refusal,
            MEMORY_BYTES, //
        },
        discovery::{
            self,
            Place,
            Search,
            When, //
        },
        handover, //
    },
    gpu::GpuError,
    linux::{
        atomic_option::AtomicOption,
        bell::Bell,
        console,
        early::ImageMemory,
        holder,
        mapped::Mapped,
        mutex::Mutex,
        owner::{
            is_alone,
            is_dying,
            is_in_trouble,
            Owned, //
        },
        pci_device::PciDevice,
        platform_driver::Slot,
        pm::kexec_in_progress,
        shared::{
            begin_use,
            ticks,
            Shared, //
        }, //
    },
    pci::Enumerated,
    scanout::{
        display::{
            DisplayError,
            Left, //
        },
        log::{
            Log,
            LogError, //
        }, //
    },
    text::ATTRIBUTE,
    virtio::{
        adoption::Found,
        Doorbell, //
    }, //
};

pub(crate) static MEMORY: ImageMemory<{ MEMORY_BYTES / 4 }> = ImageMemory::new();
pub(crate) static BELL: Bell = Bell::new();
static SCREEN: Owned<(AtomicOption<Stage>, Reader)> =
    Owned::new((AtomicOption::none(), Reader::new()));

// What is asked about every device of a bus, without the lock.
static UP: AtomicBool = AtomicBool::new(false);
static PCI_DEVICE: AtomicUsize = AtomicUsize::new(0);
static MMIO_BASE: AtomicU64 = AtomicU64::new(0);
/// Whether the screen is dark because the display has changed to what we cannot use.
static LOST: AtomicBool = AtomicBool::new(false);
/// How often a device that had stalled, or was reset, was lit again without being asked.
static RECOVERED: AtomicUsize = AtomicUsize::new(0);
/// That often at most: each time it may stall once more, with the console lock held.
const RECOVERIES: usize = 8;
/// Whether an early console has the log from its start.
static EARLY: AtomicBool = AtomicBool::new(false);

/// Our device.
struct Stage {
    /// The screen; none while somebody else has the device, or it sleeps.
    log: AtomicOption<Log<'static, Shared>>,
    /// Where it was found, if it was before the driver core knew it.
    place: Option<(Place, Doorbell)>,
    /// The mapping of its doorbell, and the physical address of that; none if that is the page of
    /// early consoles, or the driver core's.
    bell: Option<(Mapped, u64)>,
    /// What the driver core gave us.
    held: AtomicOption<Held>,
    /// What is left of that while the native driver is about to get the device: should the kernel
    /// die of it, the screen is ours.
    lent: AtomicOption<Held>,
    /// How often the device was set up again for a dying kernel.
    revived: u8,
}

/// A device that the driver core offers, or has given us.
#[derive(Clone, Copy)]
pub(crate) enum Device {
    /// A PCI function.
    Pci(PciDevice),
    /// A virtio-mmio slot.
    Mmio(Slot),
}

impl Device {
    /// What the driver core calls it by.
    pub(crate) fn as_device(self) -> *mut bindings::device {
        match self {
            Self::Pci(device) => device.as_device(),
            Self::Mmio(slot) => slot.as_device(),
        }
    }

    /// Whether it is the one that was found.
    fn was_found(self) -> bool {
        match self {
            Self::Pci(device) => PCI_DEVICE.load(Ordering::Relaxed) == device.as_ptr() as usize,
            Self::Mmio(slot) => MMIO_BASE.load(Ordering::Relaxed) == slot.base(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(device) => device.fmt(f),
            Self::Mmio(slot) => slot.fmt(f),
        }
    }
}

/// Makes a device that was found our screen. A function of its own: what it moves about need not be
/// on the stack, which is small, of who searches.
#[inline(never)]
pub(crate) fn found(search: &mut Search) -> Option<()> {
    let lit = search.lit.take()?;
    if let Place::Mmio { base } = lit.place {
        MMIO_BASE.store(base, Ordering::Relaxed);
    }
    UP.store(true, Ordering::Relaxed);
    change_stage(|slot| {
        slot.put(Stage {
            place: Some((lit.place, lit.doorbell)),
            bell: lit.bell.map(|mapped| (mapped, lit.address)),
            ..Stage::empty()
        });
        if let Some(stage) = slot.as_mut() {
            stage.log.take_from(&mut search.log);
        }
    });
    Some(())
}

impl Stage {
    /// A stage without a device.
    const fn empty() -> Self {
        Self {
            log: AtomicOption::none(),
            place: None,
            bell: None,
            held: AtomicOption::none(),
            lent: AtomicOption::none(),
            revived: 0,
        }
    }

    /// Makes sure that there is a log which can be written, for a kernel that dies. Returns whether
    /// it begins again; `None` if there is no way.
    fn revive(&mut self, torn: bool) -> Option<bool> {
        let Self {
            log, place, bell, ..
        } = self;
        if let Some(log) = log.as_mut().filter(|_| !torn) {
            if log.is_paused() {
                if let Some((Place::Pci { bar, notify, .. }, doorbell)) = place {
                    let mapped = bell.as_ref().map(|(_, at)| *at);
                    reach(*bar, *notify, *doorbell, mapped)?;
                }
                log.resume();
            }
            return Some(false);
        }
        self.begin_again()
    }

    /// Sets the device up again. A function of its own: it takes much stack, of which whoever dies
    /// of a stack that is full has 4 KiB in all.
    #[cold]
    #[inline(never)]
    fn begin_again(&mut self) -> Option<bool> {
        let Self {
            log,
            held,
            lent,
            revived,
            ..
        } = self;
        // Another CPU may be just about to give the device to the native driver, until it is
        // stopped.
        if held.is_none() && lent.is_some() && !is_alone() {
            return None;
        }
        // Once for whoever was in the middle of it, and once more for what may be wrong with ours.
        // A kernel that lives has others who see to a device that sleeps, or is on its way.
        match is_dying() {
            true if *revived == 2 => return None,
            true => *revived += 1,
            false if log.is_none() => return None,
            false => {}
        }
        // Before the driver core has the device there is no way to its registers: the log goes on
        // as it is.
        if let Some(held) = held.as_mut().or(lent.as_mut()) {
            if let Some(log) = log.take() {
                held.abandon(&BELL, log);
            }
            held.light(&BELL, log).ok()?;
        }
        log.is_some().then_some(true)
    }

    /// Reaches the device by the registers that the driver core has given us from now on.
    fn keep(&mut self, mut held: Held, doorbell: Doorbell) -> Result<(), Refusal> {
        if let Err(refusal) = held.hang(&BELL, doorbell) {
            if let Some(log) = self.log.take() {
                held.reset(&BELL, log);
            }
            return Err(refusal);
        }
        // The bell hangs by a mapping of the driver core's device now.
        (self.place, self.bell) = (None, None);
        self.held.put(held);
        if let Some(log) = self.log.as_mut() {
            log.resume();
        }
        Ok(())
    }
}

/// Hangs the doorbell up where the PCI core has its BAR by now, in which doorbells begin at
/// `notify`. One that is `mapped` at a physical address may be there still. Otherwise it is mapped
/// in the page of early consoles, which a kernel that dies can map, unless another console has
/// that.
fn reach(bar: u8, notify: u32, doorbell: Doorbell, mapped: Option<u64>) -> Option<()> {
    let device = PCI_DEVICE.load(Ordering::Relaxed) as *mut bindings::pci_dev;
    // SAFETY: It is null, or a device that `pci_setup_device()` (drivers/pci/probe.c) has shown to
    // `pci_found()`. Only a log that is paused comes here: from there until the driver core offers
    // the device, and `keep()` has the log resume or drops it. In that time the PCI core
    // initialises and adds the device. It would free it only if it was removed before any driver
    // was asked, of which `gone()` is told, or if its header type was not known: a virtio-gpu's is.
    let device = unsafe { PciDevice::new(device) };
    match device.and_then(|device| device.memory_bar(bar)) {
        Some((start, _)) => {
            let at = start + u64::from(notify) + doorbell.offset as u64;
            let is_there = mapped == Some(at);
            let is_free = mapped.is_none() || !console::has_other_early_console();
            (is_there || is_free && BELL.hang_at(at, doorbell)).then_some(())
        }
        // Not moved yet.
        None => Some(()),
    }
}

/// Whether a device was found before the driver core knew it.
pub(crate) fn is_up() -> bool {
    UP.load(Ordering::Relaxed)
}

/// When consoles are set up: finds a screen, if there is none yet. Returns whether there is one.
pub(crate) fn begin() -> bool {
    EARLY.store(is_up(), Ordering::Relaxed);
    let mut is_there = is_up();
    if !is_up() && !discovery::has_stalled() {
        let begun = ticks();
        let mut search = Search::new(When::Consoles);
        search.handoff = boot_picture::handed_over();
        search.everywhere();
        is_there = search.seen != 0;
        search.announce(begun);
        console::locked(|| found(&mut search));
    }
    if is_there {
        preferred::begin();
    }
    if is_up() {
        nbcon::begin(EARLY.load(Ordering::Relaxed));
    }
    is_up()
}

/// Runs `f` on the log, if there is one and it is free: with the console lock held.
pub(crate) fn with_log<R>(f: impl FnOnce(&mut Log<'static, Shared>) -> R) -> Option<R> {
    let (result, trouble) = with_stage(|stage| {
        let log = stage.as_mut()?.log.as_mut()?;
        Some((f(log), log.trouble()))
    })??;
    if let Some(trouble) = trouble {
        bring_up::complain(trouble);
    }
    Some(result)
}

/// Writes the log's text to the screen, or keeps it until the screen is there again, for the early
/// console.
pub(crate) fn write(text: &[u8]) {
    if preferred::are_others_on_screen() {
        return;
    }
    let write = |log: &mut Log<'static, Shared>| {
        log.remember(text, ATTRIBUTE, is_in_trouble());
        pacing::show(log);
    };
    if is_dying() {
        seize(false, |log, _, _| write(log));
    } else {
        with_log(write);
    }
}

/// As [`with_log`], with who reads the kernel's log for it. Nothing is said of trouble: the kernel
/// has its own.
pub(crate) fn with_reader<R>(
    f: impl FnOnce(&mut Log<'static, Shared>, &mut Reader) -> R,
) -> Option<R> {
    SCREEN.with(|(stage, reader)| Some(f(stage.as_mut()?.log.as_mut()?, reader)))?
}

/// As [`with_reader`], on the log of a kernel that dies, whoever has it, or when who has it is
/// dead. `f` learns whether the log begins again, on a blank screen, since it was left in the
/// middle of something. Another CPU that still runs keeps the log, but for the `last` time.
pub(crate) fn seize<R>(
    last: bool,
    f: impl FnOnce(&mut Log<'static, Shared>, &mut Reader, bool) -> R,
) -> Option<R> {
    SCREEN.seize(last, |(stage, reader), torn| {
        let stage = stage.as_mut()?;
        let begun = stage.revive(torn)?;
        Some(f(stage.log.as_mut()?, reader, begun))
    })?
}

/// This very context has faulted. Returns whether it has the screen, which others may take now.
pub(crate) fn abandon() -> bool {
    SCREEN.abandon()
}

fn with_stage<R>(f: impl FnOnce(&mut AtomicOption<Stage>) -> R) -> Option<R> {
    SCREEN.with(|(stage, _)| f(stage))
}

/// As [`with_stage`], for what may not be left undone because another CPU just shows an emergency.
fn change_stage<R>(f: impl FnOnce(&mut AtomicOption<Stage>) -> R) -> R {
    SCREEN.wait(|(stage, _), torn| {
        if torn {
            // Who has died of it left the ring in the middle of something.
            stage.as_mut().and_then(Stage::begin_again);
        }
        f(stage)
    })
}

/// The PCI core has found a function, and will now size and move its BARs. `device` is the address
/// of its `pci_dev`, and `bar` gives the bus address in one of its BARs.
///
/// From the first bridge on that leads to our device, the device may not be reached, and the log is
/// paused. It stays so until the device is bound, so that nobody has to know the other bridges,
/// whose buses may have other numbers by now.
pub(crate) fn pci_found(found: &Enumerated, device: usize, bar: impl FnOnce(u8) -> u64) {
    change_stage(|stage| {
        let Some(Stage {
            log,
            place: Some((place, _)),
            held,
            ..
        }) = stage.as_mut()
        else {
            return;
        };
        let (Some(log), true) = (log.as_mut(), held.is_none()) else {
            return;
        };
        let Place::Pci {
            at,
            bar: number,
            address,
            ..
        } = place
        else {
            return;
        };
        // Once the device is known, bridges have been opened for it.
        if PCI_DEVICE.load(Ordering::Relaxed) != 0 {
            return;
        }
        let is_it = at.is(found, || bar(*number) == *address);
        if is_it {
            PCI_DEVICE.store(device, Ordering::Relaxed);
        }
        if is_it || at.is_behind(found) {
            log.pause();
        }
    });
}

/// The driver core forgets a device. If it is the one that was found, and nobody was asked to take
/// it, there is no screen any more.
pub(crate) fn gone(device: *mut bindings::device) {
    let found = PCI_DEVICE.load(Ordering::Relaxed) as *mut bindings::pci_dev;
    // SAFETY: It is null, or what `pci_found()` was shown, which this function is called for before
    // it is freed.
    let found = unsafe { PciDevice::new(found) };
    if found.is_none_or(|found| found.as_device() != device) {
        return;
    }
    let had_screen = console::locked(|| {
        #[cfg(CONFIG_VT)]
        vt::save_foreground();
        change_stage(|slot| {
            PCI_DEVICE.store(0, Ordering::Relaxed);
            let is_found = slot.as_mut().is_some_and(|stage| stage.place.is_some());
            if is_found {
                BELL.take_down();
                slot.clear();
            }
            is_found
        })
    });
    if had_screen {
        nbcon::end();
    }
}

/// The driver core offers a device. Ours is held from now on, or made the screen if there is none.
///
/// # Errors
///
/// ENODEV if it is for others, or cannot be used; then the reason is in the log.
pub(crate) fn probe(device: Device) -> Result {
    enum Plan {
        Keep(Doorbell),
        Light,
        Leave,
    }
    // One device at a time: what is decided is also done.
    let _one = Mutex::Probe.lock();
    let plan = locked(|stage| match stage.as_mut() {
        None => Plan::Light,
        Some(stage) if stage.held.is_some() || handover::is_for_native(device) => Plan::Leave,
        Some(stage) if stage.log.is_none() => Plan::Light,
        Some(Stage { place, .. }) => match place {
            Some((_, doorbell)) if device.was_found() => Plan::Keep(*doorbell),
            _ => Plan::Leave,
        },
    });
    let result = match plan {
        Plan::Keep(doorbell) => keep(device, doorbell),
        Plan::Light => light(device),
        Plan::Leave => return Err(ENODEV),
    };
    match result {
        Ok(()) => {
            remove_framebuffers(device);
            handover::held(device);
            holder::follow_display_later();
            nbcon::begin(EARLY.load(Ordering::Relaxed));
            Ok(())
        }
        // What a slot of virtio-mmio is said to be empty for, or somebody else's.
        Err(Refusal::Mmio(_)) => Err(ENODEV),
        Err(refusal) if handover::is_coming_back(device) => {
            handover::lost(device, &refusal);
            Err(ENODEV)
        }
        // It was said when the device was found.
        Err(refusal) if refusal.is_stall() && discovery::has_stalled() => Err(ENODEV),
        Err(refusal) => {
            bring_up::refuse(device, &refusal);
            Err(ENODEV)
        }
    }
}

/// The framebuffer that a device of the VGA class has is not shown any more. If efifb or simpledrm
/// kept it, the virtual terminals would stay there, where nobody sees them.
fn remove_framebuffers(device: Device) {
    let Device::Pci(device) = device else {
        return;
    };
    #[allow(unused_mut)]
    let mut has_one = device.is_vga();
    #[cfg(CONFIG_VIRTGPU_BRIDGE_DYING)]
    {
        has_one |= crate::dying::is_vga();
    }
    if has_one {
        device.remove_framebuffers();
        // The terminals may have no driver now.
        lit();
    }
}

/// Takes a device that is running. If that fails, it is left alone.
#[inline(never)]
fn keep(device: Device, doorbell: Doorbell) -> Result<(), Refusal> {
    let held = hold(device);
    let result = locked(|slot| {
        let result = match (held, slot.as_mut()) {
            (Ok(held), Some(stage)) => stage.keep(held, doorbell),
            // There is always a stage, when there is a plan to keep its device.
            (Ok(_), None) => Ok(()),
            (Err(refusal), _) => Err(refusal),
        };
        if result.is_err() {
            BELL.take_down();
            slot.clear();
        }
        result
    });
    if result.is_err() {
        nbcon::end();
        if let Device::Pci(device) = device {
            // If it could not be reset, the memory that it has is never used again.
            device.clear_master();
        }
    }
    result
}

/// Sets a device up, and makes it the screen. A function of its own: it takes much stack.
#[inline(never)]
fn light(device: Device) -> Result<(), Refusal> {
    let begun = ticks();
    begin_use();
    let (mut held, mut log) = (AtomicOption::none(), AtomicOption::none());
    held.put(hold(device)?);
    if let Some(held) = held.as_mut() {
        held.light(&BELL, &mut log)?;
    }
    if let Some(log) = log.as_mut() {
        bring_up::announce(device, log, begun);
    }
    locked(|stage| {
        if stage.is_none() {
            stage.put(Stage::empty());
        }
        // What is lent stays until `settled()`.
        if let Some(stage) = stage.as_mut() {
            (stage.place, stage.bell, stage.revived) = (None, None, 0);
            stage.held.take_from(&mut held);
            stage.log.take_from(&mut log);
        }
    });
    lit();
    Ok(())
}

fn hold(device: Device) -> Result<Held, Refusal> {
    match device {
        Device::Pci(device) => Held::pci(device),
        Device::Mmio(slot) => Held::mmio(slot.base()),
    }
}

/// The device gets another driver, or goes.
pub(crate) fn remove(device: Device) {
    if !holder::is(device.as_device()) {
        return;
    }
    handover::released();
    let lends = handover::is_giving();
    let held = quietly(Held::reset, |stage, _| {
        let mut held = stage.held.take()?;
        if !(lends && held.can_be_lent()) {
            return Some((None, Some(held)));
        }
        let enabled = held.release();
        stage.lent.put(held);
        Some((enabled, None))
    });
    // What was taken of the device is given back while consoles can print.
    drop(held);
    #[cfg(CONFIG_VT)]
    vt::let_go();
    if !lends {
        nbcon::end();
    }
}

/// Resets the device for the native driver, as long as it is ours. Returns false if the device does
/// not finish the reset (libkrun's, which sets FAILED instead): no other driver can use it then,
/// and the log goes on as far as the device lets it.
pub(crate) fn stop() -> bool {
    console::locked(|| {
        #[cfg(CONFIG_VT)]
        vt::save_foreground();
        change_stage(|stage| {
            let Some(Stage { log, held, .. }) = stage.as_mut() else {
                return true;
            };
            held.as_mut().is_none_or(|held| held.try_reset(&BELL, log))
        })
    })
}

/// The native driver has taken the device, or has not: what was left of it is not needed any more.
pub(crate) fn settled() {
    drop(locked(|stage| stage.as_mut()?.lent.take()));
}

/// The device is about to sleep.
pub(crate) fn suspend() {
    quietly(Held::reset, |_, _| ());
}

/// It is awake, and knows nothing any more.
pub(crate) fn resume() {
    light_again("after sleep");
}

/// Lights the screen of a device that has been reset. Returns whether that was possible; `when` is
/// for the line that says why not.
fn light_again(when: &str) -> bool {
    let result = locked(|stage| {
        let Some(Stage { log, held, .. }) = stage.as_mut() else {
            return Ok(());
        };
        let Some(held) = held.as_mut() else {
            return Ok(());
        };
        held.light(&BELL, log)
    });
    if let Err(refusal) = &result {
        bring_up::refuse(when, refusal);
    }
    lit();
    result.is_ok()
}

/// Some time has passed: has the device recovered, or the host changed what it shows us on? Returns
/// whether there is something to be asked again.
pub(crate) fn follow() -> bool {
    recover();
    follow_display()
}

/// Has the host changed what it shows us on? Then we begin again, in the new size, with the old
/// picture until there is a new one. Returns whether there is something to be asked again.
#[inline(never)]
fn follow_display() -> bool {
    let (is_held, changed) = locked(|stage| {
        let Some(Stage { log, held, .. }) = stage.as_mut() else {
            return (false, false);
        };
        let Some(held) = held.as_mut() else {
            return (false, false);
        };
        // When the configuration of a device in a process of its own is read, QEMU waits for that
        // process. If that is busy with a command, it may wait for QEMU to take a picture from it:
        // then neither goes on, and the guest is stopped for good (seen with vhost-user-gpu).
        let answers = match log.as_mut() {
            Some(log) => log.settle(),
            None => LOST.load(Ordering::Relaxed),
        };
        let changed = answers && held.displays_changed();
        let other = log.as_mut().is_none_or(Log::has_other_scanouts);
        (true, changed && other)
    });
    if !changed {
        return is_held;
    }
    let begun = ticks();
    let result = quietly(Held::quiesce, |stage, left| {
        let Stage { held, log, .. } = stage;
        let held = held.as_mut()?;
        // The next kernel finds the device as it was left for it.
        if kexec_in_progress() {
            return None;
        }
        let result = match held.light_again(&BELL, log) {
            // The host may not have the memory for both pictures.
            Err(Refusal::Log(LogError::Display(DisplayError::Gpu(GpuError::Refused(_))))) => {
                held.light(&BELL, log)
            }
            result => result,
        };
        Some(result.map(|()| {
            // A reset has forgotten it.
            if let Some(log) = log.as_mut().filter(|log| log.found() == Found::Adopted) {
                log.inherit(left);
            }
        }))
    });
    match result.flatten() {
        Some(Err(refusal)) => {
            // What comes next may do.
            LOST.store(true, Ordering::Relaxed);
            bring_up::refuse("the display has changed", &refusal);
        }
        None => {}
        Some(Ok(())) => {
            LOST.store(false, Ordering::Relaxed);
            lit();
            locked(|stage| {
                let log = stage.as_mut()?.log.as_mut()?;
                bring_up::announce("the display has changed", log, begun);
                Some(())
            });
        }
    }
    is_held
}

/// Lights a screen again whose device had stalled and answers now, or was reset by somebody else.
/// One that is gone is left alone. A function of its own, as is [`follow_display`]: both take much
/// of the stack.
#[inline(never)]
fn recover() {
    let may = RECOVERED.load(Ordering::Relaxed) < RECOVERIES;
    let state = locked(|stage| {
        let Stage { log, held, .. } = stage.as_mut()?;
        let (log, held) = (log.as_mut()?, held.as_mut()?);
        match held.state() {
            State::Runs if may && log.has_failed() => log.recover().then_some(State::Runs),
            State::Reset if may => Some(State::Reset),
            _ => None,
        }
    });
    let Some(state) = state else {
        return;
    };
    RECOVERED.fetch_add(1, Ordering::Relaxed);
    let what = if state == State::Reset {
        quietly(Held::reset, |_, _| ());
        if !light_again("after a reset") {
            return;
        }
        "was reset"
    } else {
        "answers again"
    };
    pr_info!("the device {what}, the screen goes on\n");
}

/// The screen is blank: who has text for it shows it.
fn lit() {
    nbcon::lit();
    #[cfg(CONFIG_VT)]
    vt::lit();
}

/// The machine is about to stop, or to start another kernel, which must find the device quiet.
/// Where there is no other, the last lines are still shown.
pub(crate) fn shutdown(device: Device) {
    if kexec_in_progress() && holder::is(device.as_device()) {
        pr_info!("the next kernel gets the screen\n");
        quietly(Held::quiesce, |_, _| ());
    }
}

/// Ends the log and has the device stopped, and then runs `f` on the stage, if there is one, and on
/// what the log has left.
fn quietly<R>(stop: Stop, f: impl FnOnce(&mut Stage, Left) -> R) -> Option<R> {
    console::locked(|| {
        #[cfg(CONFIG_VT)]
        vt::save_foreground();
        change_stage(|stage| {
            let stage = stage.as_mut()?;
            let mut left = Left::default();
            if let Some(mut log) = stage.log.take() {
                left = log.leave();
                match stage.held.as_mut() {
                    // It is too late for trouble.
                    Some(held) => drop(stop(held, &BELL, log)),
                    // Not the driver core's device yet: the memory stays with it.
                    None => BELL.take_down(),
                }
            }
            Some(f(stage, left))
        })
    })
}

/// Runs `f` on the stage, with the console lock held.
fn locked<R>(f: impl FnOnce(&mut AtomicOption<Stage>) -> R) -> R {
    console::locked(|| change_stage(f))
}
