// SPDX-License-Identifier: GPL-2.0

//! The active device, which shows the log or is to show it: its state, and the events that change
//! the state.
//!
//! ```text
//!   early ----> running <---> paused    before the driver core: the PCI core moves BARs
//!                  |
//!                probe
//!                  v
//!                bound                  the driver core has bound it to this driver
//!                 | ^
//!          remove | | probe
//!         suspend | | resume
//!                 v |
//!                idle                   another driver has it, or it sleeps: there is no log
//! ```

use kernel::{
    bindings,
    pr_info,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        SetOnce, //
    }, //
};

use crate::{
    device::{
        bound::{
            BoundDevice,
            Displays,
            Health,
            Stop, //
        },
        bring_up::{
            self,
            BringUpError,
            NOTIFY, //
        },
        discovery::{
            self,
            DeviceLocation,
            Discovery,
            Phase, //
        }, //
    },
    firmware::handoff::Handoff,
    linux::{
        atomic_option::AtomicOption,
        clock::{
            begin_use,
            ticks, //
        },
        console::{
            self,
            Locked, //
        },
        device_id::DeviceId,
        driver_core::BusDevice,
        earlycon,
        font::default_font,
        io_mapping::IoMapping,
        owner::{
            is_only_cpu,
            panic_on_this_cpu,
            Owned, //
        },
        pci_device::PciDevice,
        pm::kexec_in_progress,
        queue_memory::QueueMemory,
        work, //
    },
    pci::Enumerated,
    scanout::{
        display::RetainedScanouts,
        log::Log,
        reader::LogReader, //
    },
    virtio::QueueNotify, //
};

static DEVICE: Owned<(AtomicOption<ActiveDevice>, LogReader)> =
    Owned::new((AtomicOption::none(), LogReader::new()));

// The identity of the discovered device, for bus callbacks, which do not own the state.
static IS_DISCOVERED: AtomicFlag = AtomicFlag::new(false);
static PCI_DEVICE: Atomic<usize> = Atomic::new(0);
static MMIO_BASE: Atomic<u64> = Atomic::new(0);

static OBSERVER: SetOnce<&'static (dyn Observer + Sync)> = SetOnce::new();

/// The largest number of times that a panic starts the log again: once because the interrupted code
/// was changing the state, and once because of a fault of the driver's own.
const MAX_PANIC_RESTARTS: u8 = 2;

/// The callbacks by which the device notifies the consoles of changes.
pub(crate) trait Observer {
    /// Starts the consoles: a device is bound and shows the log. May sleep.
    fn started(&self);

    /// Draws all text again: the screen is blank, and perhaps another one than before. May sleep.
    fn redraw(&self);

    /// Handles displays that have changed. The screen may be the same as before. May sleep.
    fn displays_changed(&self);

    /// Checks the consoles, about once in a second while a device is bound. May sleep.
    fn polled(&self);

    /// Saves text that is only on the screen, before the log ends.
    fn save(&self, lock: &Locked);

    /// Handles the loss of the device, after it has been removed from this driver. May sleep.
    fn released(&self);

    /// Stops the consoles: there is no screen any more. May sleep.
    fn stopped(&self);
}

/// Sets the observer. For the `console_initcall`, before the driver core has devices.
pub(crate) fn set_observer(observer: &'static (dyn Observer + Sync)) {
    OBSERVER.populate(observer);
}

/// Calls `f` with the observer, if there is one.
fn notify(f: impl FnOnce(&dyn Observer)) {
    if let Some(observer) = OBSERVER.as_ref() {
        f(*observer);
    }
}

/// Notifies the consoles that a device is bound and shows the log. May sleep.
pub(crate) fn started() {
    notify(|observer| observer.started());
}

/// Notifies the consoles that there is no screen any more. May sleep.
pub(crate) fn stopped() {
    notify(|observer| observer.stopped());
}

/// The active device.
struct ActiveDevice {
    /// The log; none while another driver has the device, or it sleeps.
    log: AtomicOption<Log<'static, QueueMemory>>,
    /// The discovered device, from its discovery until the driver core binds it.
    early: Option<EarlyDevice>,
    /// The resources while the device is bound.
    bound: AtomicOption<BoundDevice>,
    /// The rest of the resources while the native driver probes the device. A panic in that time
    /// brings the device up with them.
    releasing: AtomicOption<BoundDevice>,
    /// The number of times that a panic has started the log again.
    panic_restarts: u8,
}

/// A device before the driver core binds it.
struct EarlyDevice {
    location: DeviceLocation,
    notify: QueueNotify,
    /// The mapping of the notify register, with its physical address; none if it is the page of
    /// early consoles.
    mapping: Option<(IoMapping, u64)>,
}

impl ActiveDevice {
    /// Makes a state without resources and without a log.
    const fn empty() -> Self {
        Self {
            log: AtomicOption::none(),
            early: None,
            bound: AtomicOption::none(),
            releasing: AtomicOption::none(),
            panic_restarts: 0,
        }
    }

    /// Makes sure that a panic can write to the log. Returns whether the log starts anew; `None` if
    /// a panic cannot write to it. `is_torn` says that the state may be half changed.
    fn prepare_for_panic(&mut self, is_torn: bool) -> Option<bool> {
        let Self { log, early, .. } = self;
        if let Some(log) = log.as_mut() {
            let is_paused = log.is_paused();
            if let Some(early) = early.as_ref().filter(|_| is_paused) {
                early.map_notify_again()?;
            }
            if is_paused && !is_torn {
                log.resume();
            }
            if !is_torn {
                return Some(false);
            }
        }
        self.restart()
    }

    /// Starts the log again, whose state may be half changed: on the running device if possible,
    /// since not every device can be brought up twice; else brings the device up again. Returns the
    /// same as [`ActiveDevice::prepare_for_panic`].
    ///
    /// Not inlined: it needs much stack, and a panic because of a full stack has 4 KiB.
    #[cold]
    #[inline(never)]
    fn restart(&mut self) -> Option<bool> {
        let Self {
            log,
            bound,
            releasing,
            panic_restarts,
            ..
        } = self;
        // Another CPU may be about to give the device to the native driver, until it is stopped.
        if bound.is_none() && releasing.is_some() && !is_only_cpu() {
            return None;
        }
        match panic_on_this_cpu() {
            true if *panic_restarts == MAX_PANIC_RESTARTS => return None,
            true => *panic_restarts += 1,
            // Without a panic, the PM core or the handover brings the device up later, and the
            // device cannot be accessed while the log is paused.
            false if log.as_mut().is_none_or(|log| log.is_paused()) => return None,
            false => {}
        }
        if log.as_mut().is_some_and(|log| log.restart(default_font)) {
            return Some(true);
        }
        // There is no access to the registers before the device is bound: the log goes on as it is.
        if let Some(device) = bound.as_mut().or(releasing.as_mut()) {
            if let Some(log) = log.take() {
                device.abandon(log);
            }
            device.bring_up(log).ok()?;
        }
        log.is_some().then_some(true)
    }

    /// Continues the log with the registers that the driver core has provided.
    ///
    /// # Errors
    ///
    /// Fails if the notify register cannot be mapped; there is no log then.
    fn bind(&mut self, mut device: BoundDevice, notify: QueueNotify) -> Result<(), BringUpError> {
        if let Err(error) = device.set_notify(notify) {
            if let Some(log) = self.log.take() {
                device.reset(log);
            }
            return Err(error);
        }
        // `NOTIFY` uses a mapping of `device` now, so the early one can be dropped.
        self.early = None;
        self.bound.put(device);
        if let Some(log) = self.log.as_mut() {
            log.resume();
        }
        Ok(())
    }
}

impl EarlyDevice {
    /// Maps the notify register where the PCI core has its BAR by now. An earlier mapping is used
    /// if it has the same address. Otherwise the register is mapped in the page of early consoles,
    /// which a panic can do, unless another console uses that page. Returns `None` if it cannot be
    /// mapped.
    fn map_notify_again(&self) -> Option<()> {
        let DeviceLocation::Pci { bar, notify, .. } = self.location else {
            return Some(());
        };
        let device = PCI_DEVICE.load(Relaxed) as *mut bindings::pci_dev;
        // SAFETY: The pointer is null, or a device that `pci_setup_device()` (drivers/pci/probe.c)
        // has passed to the PCI fixup. This is called only while the log is paused: from the fixup
        // until the driver core offers the device, when the log resumes or is dropped. In that time
        // the PCI core initialises and adds the device. It would free it only if it was removed
        // before a driver was probed, for which `removed()` is called, or if its header type was
        // unknown; that of a virtio-gpu is known.
        let device = unsafe { PciDevice::new(device) };
        match device.and_then(|device| device.memory_bar(bar)) {
            Some((start, _)) => {
                let at = start + u64::from(notify) + self.notify.offset as u64;
                let address = self.mapping.as_ref().map(|(_, address)| *address);
                let is_mapped = address == Some(at);
                let is_free = address.is_none() || !earlycon::has_other();
                (is_mapped || is_free && NOTIFY.map_early(at, self.notify)).then_some(())
            }
            // The BAR has not moved yet.
            None => Some(()),
        }
    }
}

/// Returns whether a device was discovered before the driver core has devices.
pub(crate) fn is_discovered() -> bool {
    IS_DISCOVERED.load(Relaxed)
}

/// Discovers a device when consoles are initialised. `handoff` returns the table of the UEFI
/// driver. Returns whether there is a GPU, even if it cannot be brought up.
pub(crate) fn discover(handoff: impl FnOnce() -> Option<Handoff>) -> bool {
    if discovery::has_timed_out() {
        return false;
    }
    let start = ticks();
    let mut discovery = Discovery::new(Phase::ConsoleInit);
    discovery.handoff = handoff();
    discovery.scan();
    discovery.announce(start);
    console::locked(|_| activate(&mut discovery));
    discovery.seen != 0
}

/// Makes the discovered device the active one. Returns `None` if there is none.
///
/// Not inlined: it moves large values, which would be on the stack of the discovery.
#[inline(never)]
pub(crate) fn activate(discovery: &mut Discovery) -> Option<()> {
    let gpu = discovery.discovered.take()?;
    if let DeviceLocation::Mmio { base } = gpu.location {
        MMIO_BASE.store(base, Relaxed);
    }
    IS_DISCOVERED.store(true, Relaxed);
    change(|slot| {
        slot.put(ActiveDevice {
            early: Some(EarlyDevice {
                location: gpu.location,
                notify: gpu.notify,
                mapping: gpu.mapping.map(|mapping| (mapping, gpu.address)),
            }),
            ..ActiveDevice::empty()
        });
        if let Some(device) = slot.as_mut() {
            device.log.take_from(&mut discovery.log);
        }
    });
    Some(())
}

/// Runs `f` on the log; returns `None` if there is none, or if another context owns the screen. The
/// caller holds the console lock.
pub(crate) fn with_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    let (result, error) = DEVICE.try_with(|(device, _)| {
        let log = device.as_mut()?.log.as_mut()?;
        Some((f(log), log.take_error()))
    })??;
    if let Some(error) = error {
        bring_up::report_missing_text(error);
    }
    Some(result)
}

/// Runs `f` on the log; returns `None` if there is none. Waits while another context owns the
/// screen. May sleep.
pub(crate) fn wait_for_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    change(|slot| Some(f(slot.as_mut()?.log.as_mut()?)))
}

/// Runs `f` on the log, and on the reader of the kernel's log that goes with it; returns `None` if
/// there is no log, or if another context owns the screen. In any context. Errors are not reported.
pub(crate) fn with_reader<R>(
    f: impl FnOnce(&mut Log<'static, QueueMemory>, &mut LogReader) -> R,
) -> Option<R> {
    DEVICE.try_with(|(device, reader)| Some(f(device.as_mut()?.log.as_mut()?, reader)))?
}

/// Takes the log over from any owner, for a panic, or because its owner has faulted. The third
/// argument of `f` says whether the log starts anew, on a blank screen, because its state was half
/// changed. Returns `None` as [`Owned::take_over`] does; `last` is its argument.
pub(crate) fn take_over<R>(
    last: bool,
    f: impl FnOnce(&mut Log<'static, QueueMemory>, &mut LogReader, bool) -> R,
) -> Option<R> {
    DEVICE.take_over(last, |(device, reader), is_torn| {
        let device = device.as_mut()?;
        let is_new = device.prepare_for_panic(is_torn)?;
        Some(f(device.log.as_mut()?, reader, is_new))
    })?
}

/// Marks the owner of the screen as dead if it is this context, which has faulted. Returns whether
/// it was; other contexts may take the screen over then.
pub(crate) fn owner_has_faulted() -> bool {
    DEVICE.mark_dead()
}

/// Runs `f` on the active device. Waits while an emergency on another CPU, or the KMS driver, owns
/// the screen.
fn change<R>(f: impl FnOnce(&mut AtomicOption<ActiveDevice>) -> R) -> R {
    DEVICE.with(|(device, _), is_torn| {
        if is_torn {
            // The last owner has faulted, perhaps while it was changing the virtqueue.
            device.as_mut().and_then(ActiveDevice::restart);
        }
        f(device)
    })
}

/// Runs `f` on the active device, with the console lock held.
fn locked<R>(f: impl FnOnce(&mut AtomicOption<ActiveDevice>) -> R) -> R {
    console::locked(|_| change(f))
}

/// Handles a function that the PCI core has found, and whose BARs it is about to size and move.
/// `bar` returns the bus address in the BAR of a number.
///
/// The log is paused from the first bridge that leads to the active device on, since the device
/// cannot be accessed. It stays paused until the device is bound: other bridges are not recognised,
/// because their buses may have other numbers by now.
pub(crate) fn enumerated(found: &Enumerated, device: PciDevice, bar: impl FnOnce(u8) -> u64) {
    locked(|slot| {
        let Some(ActiveDevice {
            log,
            early: Some(early),
            bound,
            ..
        }) = slot.as_mut()
        else {
            return;
        };
        let (Some(log), true) = (log.as_mut(), bound.is_none()) else {
            return;
        };
        let DeviceLocation::Pci {
            at,
            bar: number,
            address,
            ..
        } = &early.location
        else {
            return;
        };
        // When the device is known, the bridges to it have been enabled.
        if PCI_DEVICE.load(Relaxed) != 0 {
            return;
        }
        let is_it = at.matches(found, || bar(*number) == *address);
        if is_it {
            PCI_DEVICE.store(device.as_ptr() as usize, Relaxed);
        }
        if is_it || at.is_behind(found) {
            log.pause();
        }
    });
}

/// Handles a device that the driver core removes. There is no screen any more if it is the
/// discovered one, and was not bound.
pub(crate) fn removed(device: DeviceId) {
    let discovered = PCI_DEVICE.load(Relaxed) as *mut bindings::pci_dev;
    // SAFETY: The pointer is null, or the device of `enumerated()`, for which this function is
    // called before it is freed.
    let discovered = unsafe { PciDevice::new(discovered) };
    if discovered.is_none_or(|discovered| discovered.id() != device) {
        return;
    }
    let had_screen = console::locked(|lock| {
        notify(|observer| observer.save(lock));
        change(|slot| {
            PCI_DEVICE.store(0, Relaxed);
            let is_early = slot.as_mut().is_some_and(|device| device.early.is_some());
            if is_early {
                NOTIFY.clear();
                slot.clear();
            }
            is_early
        })
    });
    if had_screen {
        stopped();
    }
}

/// Returns whether the device is bound to this driver. May sleep.
pub(crate) fn is_bound() -> bool {
    locked(|slot| slot.as_mut().is_some_and(|device| device.bound.is_some()))
}

/// Returns whether `device` is the discovered one.
fn was_discovered(device: BusDevice) -> bool {
    match device {
        BusDevice::Pci(device) => PCI_DEVICE.load(Relaxed) == device.as_ptr() as usize,
        BusDevice::Mmio(slot) => MMIO_BASE.load(Relaxed) == slot.base(),
    }
}

/// Binds a device that the driver core offers: the discovered one keeps its log, and another one
/// becomes the active device if there is none. `is_for_native` says whether the native driver is to
/// get it. The caller holds [`Mutex::Probe`](crate::linux::mutex::Mutex::Probe): since there is one
/// probe at a time, the decision made here holds until it is carried out.
///
/// # Errors
///
/// Fails with `None` if the device is not for this driver, and with the reason if it cannot be
/// used.
pub(crate) fn probe(
    device: BusDevice,
    is_for_native: impl FnOnce() -> bool,
) -> Result<(), Option<BringUpError>> {
    enum Plan {
        Bind(QueueNotify),
        BringUp,
        Leave,
    }
    let plan = locked(|slot| match slot.as_mut() {
        None => Plan::BringUp,
        Some(active) if active.bound.is_some() || is_for_native() => Plan::Leave,
        Some(active) if active.log.is_none() => Plan::BringUp,
        Some(active) => match &active.early {
            Some(early) if was_discovered(device) => Plan::Bind(early.notify),
            _ => Plan::Leave,
        },
    });
    match plan {
        Plan::Bind(notify) => bind(device, notify),
        Plan::BringUp => bring_up(device),
        Plan::Leave => return Err(None),
    }
    .map_err(Some)?;
    remove_framebuffers(device);
    Ok(())
}

/// Removes the driver of the linear framebuffer that a device of the VGA class has. Otherwise efifb
/// or simpledrm would keep the virtual terminals on a framebuffer that is not shown any more.
fn remove_framebuffers(device: BusDevice) {
    let BusDevice::Pci(device) = device else {
        return;
    };
    #[allow(unused_mut)]
    let mut has_one = device.is_vga();
    #[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
    {
        has_one |= crate::crash_test::is_vga();
    }
    if has_one {
        device.remove_framebuffers();
        // The terminals may have no driver now.
        notify(|observer| observer.redraw());
    }
}

/// Binds the discovered device, whose log goes on.
///
/// # Errors
///
/// Fails if the device cannot be used; it is not active any more then.
#[inline(never)]
fn bind(device: BusDevice, notify_register: QueueNotify) -> Result<(), BringUpError> {
    let resources = take(device);
    let result = locked(|slot| {
        let result = match (resources, slot.as_mut()) {
            (Ok(resources), Some(active)) => active.bind(resources, notify_register),
            // `probe()` has seen the active device, and no other probe runs.
            (Ok(_), None) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if result.is_err() {
            NOTIFY.clear();
            slot.clear();
        }
        result
    });
    if result.is_err() {
        stopped();
        if let BusDevice::Pci(device) = device {
            // If the device was not reset, its memory is never used again.
            device.clear_master();
        }
    }
    result
}

/// Brings a device up, and makes it the active one.
///
/// # Errors
///
/// Fails if the device cannot be used.
///
/// Not inlined: it needs much stack.
#[inline(never)]
fn bring_up(device: BusDevice) -> Result<(), BringUpError> {
    let start = ticks();
    begin_use();
    let (mut bound, mut log) = (AtomicOption::none(), AtomicOption::none());
    bound.put(take(device)?);
    if let Some(bound) = bound.as_mut() {
        bound.bring_up(&mut log)?;
    }
    if let Some(log) = log.as_mut() {
        bring_up::announce(device, log, start);
    }
    locked(|slot| {
        if slot.is_none() {
            slot.put(ActiveDevice::empty());
        }
        // `releasing` stays until `end_release()`.
        if let Some(active) = slot.as_mut() {
            (active.early, active.panic_restarts) = (None, 0);
            active.bound.take_from(&mut bound);
            active.log.take_from(&mut log);
        }
    });
    notify(|observer| observer.redraw());
    Ok(())
}

/// Takes the resources of a device.
///
/// # Errors
///
/// Fails if the device cannot be used.
fn take(device: BusDevice) -> Result<BoundDevice, BringUpError> {
    match device {
        BusDevice::Pci(device) => BoundDevice::pci(device),
        BusDevice::Mmio(slot) => BoundDevice::mmio(slot.base()),
    }
}

/// Stops the device, and gives its resources up. If the native driver is to get it
/// (`is_for_native`), the resources that a panic needs are kept until [`end_release`].
pub(crate) fn remove(is_for_native: bool) {
    let resources = stop_with(BoundDevice::reset, |active, _| {
        let mut device = active.bound.take()?;
        if !(is_for_native && device.works_in_panic()) {
            return Some((None, Some(device)));
        }
        let enabled = device.take_enabled();
        active.releasing.put(device);
        Some((enabled, None))
    });
    // Dropped here, where consoles can print.
    drop(resources);
    notify(|observer| observer.released());
    if !is_for_native {
        stopped();
    }
}

/// Resets the device before the native driver gets it. Returns false if the device does not finish
/// the reset (libkrun's sets FAILED instead): no other driver can use it then, and the log goes on
/// as far as the device allows.
pub(crate) fn reset_for_native() -> bool {
    console::locked(|lock| {
        notify(|observer| observer.save(lock));
        change(|slot| {
            let Some(ActiveDevice { log, bound, .. }) = slot.as_mut() else {
                return true;
            };
            bound.as_mut().is_none_or(|device| device.try_reset(log))
        })
    })
}

/// Drops the resources that were kept for a panic while the native driver probed the device.
pub(crate) fn end_release() {
    drop(locked(|slot| slot.as_mut()?.releasing.take()));
}

/// Resets the device before it sleeps.
pub(crate) fn suspend() {
    stop_with(BoundDevice::reset, |_, _| ());
}

/// Brings the device up after sleep.
pub(crate) fn resume() {
    bring_up_after("after sleep");
}

/// Brings a bound device up that has been reset. Returns whether that was possible. `event` is for
/// the line that reports an error.
fn bring_up_after(event: &str) -> bool {
    let result = locked(|slot| {
        let Some(ActiveDevice { log, bound, .. }) = slot.as_mut() else {
            return Ok(());
        };
        let Some(device) = bound.as_mut() else {
            return Ok(());
        };
        device.bring_up(log)
    });
    if let Err(error) = &result {
        bring_up::report_error(event, error);
    }
    notify(|observer| observer.redraw());
    result.is_ok()
}

/// Recovers a device that had timed out or was reset, follows changes of its displays, and has the
/// consoles checked. Returns whether the device is bound, so that it is to be polled again.
pub(crate) fn poll() -> bool {
    notify(|observer| observer.polled());
    recover();
    follow_displays()
}

/// Starts the log anew if the host has changed the displays, and notifies the consoles. The old
/// picture stays until there is the new one. Returns whether the device is bound.
#[inline(never)]
fn follow_displays() -> bool {
    let displays = locked(|slot| {
        let ActiveDevice { log, bound, .. } = slot.as_mut()?;
        Some(bound.as_mut()?.poll_displays(log))
    });
    match displays {
        None => return false,
        Some(Displays::Unchanged) => return true,
        Some(Displays::Same) => {
            notify(|observer| observer.displays_changed());
            return true;
        }
        Some(Displays::Differ) => {}
    }
    let start = ticks();
    let result = stop_with(BoundDevice::quiesce, |active, retained| {
        let device = active.bound.as_mut()?;
        // Leave the device to the next kernel as `shutdown()` has prepared it.
        if kexec_in_progress() {
            return None;
        }
        Some(device.bring_up_on_new_displays(&mut active.log, retained))
    });
    match result.flatten() {
        Some(Err(error)) => bring_up::report_error("the display has changed", &error),
        None => {}
        Some(Ok(())) => {
            notify(|observer| observer.displays_changed());
            notify(|observer| observer.redraw());
            locked(|slot| {
                let log = slot.as_mut()?.log.as_mut()?;
                bring_up::announce("the display has changed", log, start);
                Some(())
            });
        }
    }
    true
}

/// Brings the screen of a device back that had timed out and answers now, or that something else
/// has reset. A device that is gone is left alone.
///
/// Not inlined, as [`follow_displays`]: both need much stack.
#[inline(never)]
fn recover() {
    let health = locked(|slot| {
        let ActiveDevice { log, bound, .. } = slot.as_mut()?;
        bound.as_mut()?.recover(log.as_mut()?)
    });
    let what = match health {
        None => return,
        Some(Health::Reset) => {
            stop_with(BoundDevice::reset, |_, _| ());
            if !bring_up_after("after a reset") {
                return;
            }
            "was reset"
        }
        Some(_) => "answers again",
    };
    // The text is on the screen again.
    work::update_framebuffer_later();
    pr_info!("the device {what}, the screen goes on\n");
}

/// Resets the device's queues if another kernel, which may adopt the device, is about to start.
/// Otherwise leaves the device running, so that it shows the last lines.
pub(crate) fn shutdown() {
    if kexec_in_progress() {
        pr_info!("the next kernel gets the screen\n");
        stop_with(BoundDevice::quiesce, |_, _| ());
    }
}

/// Ends the log and stops the device, and then runs `f` on the active device and on the resources
/// that its scanouts retain. Returns `None` if there is no active device.
fn stop_with<R>(stop: Stop, f: impl FnOnce(&mut ActiveDevice, RetainedScanouts) -> R) -> Option<R> {
    console::locked(|lock| {
        notify(|observer| observer.save(lock));
        change(|slot| {
            let active = slot.as_mut()?;
            let mut retained = RetainedScanouts::default();
            if let Some(mut log) = active.log.take() {
                retained = log.retain_scanouts();
                match active.bound.as_mut() {
                    // The error is not reported: the log has ended.
                    Some(device) => drop(stop(device, log)),
                    // The device is not bound yet, and keeps its memory.
                    None => NOTIFY.clear(),
                }
            }
            Some(f(active, retained))
        })
    })
}
