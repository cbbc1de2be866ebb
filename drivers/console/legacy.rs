// SPDX-License-Identifier: GPL-2.0

//! The console of the module: the kernel's log on the device that the module has.
//!
//! The printk core passes each record with the console lock held. If the KMS driver owns the screen
//! at that moment, the record is missed: a work item, or the next record, reads it from the
//! kernel's log. A panic takes the screen from any owner, and from a framebuffer.
//!
//! The device sleeps and wakes up, is reset, and changes its displays: a new log begins with the
//! records that the printk core has passed before, whatever the log level is by then.

use core::ops::Range;

use kernel::{
    pr_info,
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
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
            BringUpError, //
        }, //
    },
    linux::{
        atomic_option::AtomicOption,
        clock::{
            begin_use,
            ticks, //
        },
        console,
        font::default_font,
        kmsg::{
            self,
            Record, //
        },
        legacy_console::{
            LegacyConsole,
            Registration, //
        },
        notifier::{
            Die,
            DieNotifier,
            Notifier, //
        },
        owner::{
            oops_in_progress,
            panic_on_this_cpu,
            Owned, //
        },
        pci_device::PciDevice,
        queue_memory::QueueMemory,
        work, //
    },
    scanout::{
        display::RetainedScanouts,
        log::Log,
        reader::LogReader, //
    },
    text::ATTRIBUTE, //
};

static DEVICE: Owned<(AtomicOption<ActiveDevice>, LogReader)> =
    Owned::new((AtomicOption::none(), LogReader::new()));
static CONSOLE: Registration<Legacy> = Registration::new();
static FAULTS: Notifier<Die<Legacy>> = Notifier::new();

/// The sequence number of the first record that was missed, or [`NONE`].
static MISSED: Atomic<u64> = Atomic::new(NONE);
/// The value of [`MISSED`] if no record was missed.
const NONE: u64 = u64::MAX;

/// The sequence number of the first record of a panic, or [`NONE`].
static FIRST_OF_PANIC: Atomic<u64> = Atomic::new(NONE);
/// The records that the printk core has passed.
static PASSED: Passed = Passed::new();
/// Set when the owner of the screen has faulted: the driver itself, which may fault again.
static OWNER_FAULTED: AtomicFlag = AtomicFlag::new(false);
/// Set when a panic has taken the screen.
static IN_PANIC: AtomicFlag = AtomicFlag::new(false);
/// The number of times that a panic has started the log again.
static PANIC_RESTARTS: Atomic<u64> = Atomic::new(0);
/// The largest number of these: once because the interrupted code was changing the state, and once
/// because of a fault of the driver's own.
const MAX_PANIC_RESTARTS: u64 = 2;

/// Marks the last line of a panic.
const END_OF_PANIC: &[u8] = b"---[ end Kernel panic";

/// The console.
struct Legacy;

/// Which of the last records the printk core has passed: the console's log level has hidden the
/// others. Changed with the console lock held, or in a panic.
struct Passed {
    /// A bit for each record.
    records: [Atomic<u64>; Self::WORDS],
    /// The sequence number after the last one that was passed.
    end: Atomic<u64>,
}

impl Passed {
    const WORDS: usize = 64;
    /// The number of records that it knows: more than a screen has rows, since many may be hidden.
    const RECORDS: u64 = Self::WORDS as u64 * 64;

    const fn new() -> Self {
        Self {
            records: [const { Atomic::new(0) }; Self::WORDS],
            end: Atomic::new(0),
        }
    }

    /// Returns the word with the bit of a record, and that bit.
    fn bit(&self, seq: u64) -> (Option<&Atomic<u64>>, u64) {
        let index = seq / 64 % Self::WORDS as u64;
        (self.records.get(index as usize), 1 << (seq % 64))
    }

    /// Adds a record; those between the last one and this one were hidden.
    fn add(&self, seq: u64) {
        let end = self.end.load(Relaxed);
        for hidden in end.max(seq.saturating_sub(Self::RECORDS))..seq {
            if let (Some(word), bit) = self.bit(hidden) {
                word.store(word.load(Relaxed) & !bit, Relaxed);
            }
        }
        if let (Some(word), bit) = self.bit(seq) {
            word.store(word.load(Relaxed) | bit, Relaxed);
        }
        self.end.store(end.max(seq + 1), Relaxed);
    }

    /// Returns whether a record was passed.
    fn has(&self, seq: u64) -> bool {
        let end = self.end.load(Relaxed);
        let is_known = seq < end && end - seq <= Self::RECORDS;
        let (word, bit) = self.bit(seq);
        is_known && word.is_some_and(|word| word.load(Relaxed) & bit != 0)
    }

    /// Returns the sequence number of the oldest record that it knows.
    fn oldest(&self) -> u64 {
        self.end.load(Relaxed).saturating_sub(Self::RECORDS)
    }
}

/// A device that shows the log.
pub(crate) struct ActiveDevice {
    /// The log; none while the device sleeps, or if it could not be brought up the last time.
    log: AtomicOption<Log<'static, QueueMemory>>,
    device: BoundDevice,
}

impl ActiveDevice {
    /// Brings a device up.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot be used, and leaves it as it was before.
    pub(crate) fn new(device: PciDevice) -> Result<Self, BringUpError> {
        begin_use();
        let mut device = BoundDevice::pci(device)?;
        let mut log = AtomicOption::none();
        device.bring_up(&mut log)?;
        Ok(Self { log, device })
    }

    /// Logs which device it is, and the time that this took since `start` (in ticks).
    pub(crate) fn announce(&mut self, device: PciDevice, start: u64) {
        if let Some(log) = self.log.as_mut() {
            bring_up::announce(device, log, start);
        }
    }

    /// Brings the device up again, after [`ActiveDevice::end_log`], and writes the text again;
    /// shows it if `shows` is set.
    ///
    /// # Errors
    ///
    /// Fails as [`BoundDevice::bring_up`] does; there is no log then.
    fn bring_up(&mut self, reader: &mut LogReader, shows: bool) -> Result<(), BringUpError> {
        // It waits as long as if it was a use of its own.
        begin_use();
        self.device.bring_up(&mut self.log)?;
        self.write_again(reader, shows);
        Ok(())
    }

    /// Ends the log and stops the device. Returns what its scanouts retain.
    ///
    /// Not inlined: it needs much stack.
    #[inline(never)]
    fn end_log(&mut self, how: Stop) -> RetainedScanouts {
        let Some(mut log) = self.log.take() else {
            return RetainedScanouts::default();
        };
        let retained = log.retain_scanouts();
        // The text that it has not shown is shown on the next log.
        let _ = how(&mut self.device, log);
        retained
    }

    /// Writes the last records that the printk core has passed to a new log, and shows them if
    /// `shows` is set. The caller holds the console lock.
    fn write_again(&mut self, reader: &mut LogReader, shows: bool) {
        let Some(log) = self.log.as_mut() else {
            return;
        };
        let end = CONSOLE.seq();
        if let Some(first) = Record::read(PASSED.oldest(), &mut reader.buffer).map(|it| it.seq) {
            MISSED.store(NONE, Relaxed);
            write_records(log, reader, first..end);
        }
        if shows {
            log.show();
        }
    }
}

/// Shows the log on a device. May sleep.
///
/// # Safety
///
/// No device shows the log. [`stop`] and [`unregister`] are called before the module is unloaded.
pub(crate) unsafe fn start(device: ActiveDevice) {
    console::locked(|_| DEVICE.with(|(slot, _), _| slot.put(device)));
    FAULTS.register();
    // SAFETY: By the safety requirement there was no device, so that the console is not registered:
    // `stop()` has unregistered it. The module is unloaded after that.
    unsafe { CONSOLE.register() };
}

/// Ends the log, and stops the device. May sleep.
pub(crate) fn stop(how: Stop) {
    CONSOLE.unregister();
    // The console does not write any more, so the device can be stopped while the other consoles
    // print.
    let active = console::locked(|_| DEVICE.with(|(slot, _), _| slot.take()));
    begin_use();
    if let Some(mut active) = active {
        let log = active.log.take();
        if let Some(error) = log.and_then(|log| how(&mut active.device, log)) {
            bring_up::report_missing_text(error);
        }
    }
    MISSED.store(NONE, Relaxed);
}

/// Resets the device before it sleeps, or before its function is reset. May sleep.
pub(crate) fn suspend() {
    with_device(|active, _| active.end_log(BoundDevice::reset));
}

/// Brings the device up after [`suspend`]. Shows the log again if `shows` is set: else something
/// comes in its place. May sleep.
pub(crate) fn resume(shows: bool) {
    let result = with_device(|active, reader| active.bring_up(reader, shows));
    if let Some(Err(error)) = result {
        bring_up::report_error("after sleep", &error);
    }
}

/// Recovers a device that had timed out and answers now, or that something else has reset. Returns
/// whether it did. `shows` is as in [`resume`]. May sleep.
pub(crate) fn recover(shows: bool) -> bool {
    let result = with_device(|active, reader| {
        let health = active.device.recover(active.log.as_mut()?)?;
        if health == Health::Reset {
            active.end_log(BoundDevice::reset);
            if let Err(error) = active.bring_up(reader, shows) {
                return Some(Err(error));
            }
        }
        Some(Ok(health))
    });
    let what = match result.flatten() {
        None => return false,
        Some(Err(error)) => {
            bring_up::report_error("after a reset", &error);
            return false;
        }
        Some(Ok(Health::Reset)) => "was reset",
        Some(Ok(_)) => "answers again",
    };
    pr_info!("the device {what}, the screen goes on\n");
    true
}

/// Starts the log anew if the host has changed the displays. The old picture stays until there is
/// the new one. Returns what has changed. `shows` is as in [`resume`]. May sleep.
pub(crate) fn follow_displays(shows: bool) -> Displays {
    let start = ticks();
    let result = with_device(|active, reader| {
        let displays = active.device.poll_displays(&mut active.log);
        if displays == Displays::Differ {
            let retained = active.end_log(BoundDevice::quiesce);
            let ActiveDevice { device, log } = active;
            device.bring_up_on_new_displays(log, retained)?;
            active.write_again(reader, shows);
        }
        Ok(displays)
    });
    match result {
        None => return Displays::Unchanged,
        Some(Err(error)) => {
            bring_up::report_error("the display has changed", &error);
            return Displays::Unchanged;
        }
        Some(Ok(Displays::Differ)) => {}
        Some(Ok(displays)) => return displays,
    }
    with_device(|active, _| {
        if let Some(log) = active.log.as_mut() {
            bring_up::announce("the display has changed", log, start);
        }
    });
    Displays::Differ
}

/// Ends what the console has begun, before the module is unloaded. May sleep.
pub(crate) fn unregister() {
    FAULTS.unregister();
    work::finish_framebuffer_update();
}

/// Runs `f` on the device, and on what reads the kernel's log, with the console lock; returns
/// `None` if there is no device. Waits while another context owns the screen. May sleep.
fn with_device<R>(f: impl FnOnce(&mut ActiveDevice, &mut LogReader) -> R) -> Option<R> {
    console::locked(|_| {
        DEVICE.with(|(device, reader), is_torn| {
            let active = device.as_mut()?;
            restart_if(is_torn, active);
            Some(f(active, reader))
        })
    })
}

/// Runs `f` on the log; returns `None` if there is none. Waits while another context owns the
/// screen. May sleep.
pub(crate) fn wait_for_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    with_reader(|log, _| f(log))
}

/// Does the same with what reads the kernel's log.
fn with_reader<R>(
    f: impl FnOnce(&mut Log<'static, QueueMemory>, &mut LogReader) -> R,
) -> Option<R> {
    DEVICE.with(|(device, reader), is_torn| {
        let active = device.as_mut()?;
        restart_if(is_torn, active);
        Some(f(active.log.as_mut()?, reader))
    })
}

/// Starts the log again if it is torn: its last owner has faulted, perhaps while it was changing
/// the virtqueue.
fn restart_if(is_torn: bool, active: &mut ActiveDevice) {
    if let Some(log) = active.log.as_mut().filter(|_| is_torn) {
        log.restart(default_font);
    }
}

/// Shows the text again, after a framebuffer. May sleep.
pub(crate) fn redraw() {
    console::locked(|_| wait_for_log(|log| log.show()));
}

/// Returns whether a panic has the screen, so that no framebuffer is shown.
pub(crate) fn has_screen() -> bool {
    IN_PANIC.load(Relaxed)
}

/// Returns whether the driver has faulted while it owned the screen. The task that did may have
/// held locks, so no framebuffer is shown any more.
pub(crate) fn owner_has_faulted() -> bool {
    OWNER_FAULTED.load(Relaxed)
}

/// Writes the records that were missed, if there are any. May sleep.
pub(crate) fn catch_up() {
    if MISSED.load(Relaxed) == NONE {
        return;
    }
    console::locked(|_| {
        with_reader(|log, reader| {
            write_missed(log, reader, CONSOLE.seq());
            log.show();
        });
    });
}

/// Appends the records that were missed before the record `end`. The caller holds the console lock,
/// or panics.
fn write_missed(log: &mut Log<'static, QueueMemory>, reader: &mut LogReader, end: u64) {
    write_records(log, reader, MISSED.xchg(NONE, Relaxed)..end);
}

/// Appends those of these records that the printk core has passed. The caller holds the console
/// lock, or panics.
fn write_records(log: &mut Log<'static, QueueMemory>, reader: &mut LogReader, records: Range<u64>) {
    let Range {
        start: mut next,
        end,
    } = records;
    while next < end {
        let Some(record) = Record::read(next, &mut reader.buffer) else {
            return;
        };
        if record.seq >= end {
            return;
        }
        if record.seq > next {
            log.append_dropped(record.seq - next);
        }
        next = record.seq + 1;
        if !PASSED.has(record.seq) {
            continue;
        }
        let is_urgent = match IN_PANIC.load(Relaxed) {
            true => record.seq >= FIRST_OF_PANIC.load(Relaxed),
            false => oops_in_progress(),
        };
        for (_, line) in record.lines() {
            log.append(line, ATTRIBUTE, is_urgent);
            log.append(b"\n", ATTRIBUTE, is_urgent);
        }
    }
}

/// Writes text of a panic, and takes the screen over for that. Its last line waits longest, and is
/// drawn even if the driver itself has faulted: nothing is lost by another fault then.
fn write_in_panic(text: &[u8], seq: u64) {
    let _ = FIRST_OF_PANIC.cmpxchg(NONE, seq, Relaxed);
    let is_last = (text.windows(END_OF_PANIC.len())).any(|words| words == END_OF_PANIC);
    let written = (is_last || !owner_has_faulted()).then(|| {
        DEVICE.take_over(is_last, |(device, reader), is_torn| {
            let log = device.as_mut()?.log.as_mut()?;
            // A fault of the driver's own would come again and again.
            if PANIC_RESTARTS.load(Relaxed) > MAX_PANIC_RESTARTS {
                return None;
            }
            if is_torn {
                PANIC_RESTARTS.store(PANIC_RESTARTS.load(Relaxed) + 1, Relaxed);
                if PANIC_RESTARTS.load(Relaxed) > MAX_PANIC_RESTARTS || !log.restart(default_font) {
                    return None;
                }
                // The screen is blank: as much as it holds, and all of the panic.
                let rows = log.grid().rows() as u64;
                let first = FIRST_OF_PANIC.load(Relaxed);
                MISSED.store(seq.saturating_sub(rows).min(first), Relaxed);
            }
            IN_PANIC.store(true, Relaxed);
            log.end_framebuffer();
            write_missed(log, reader, seq);
            log.write(text, true);
            Some(())
        })
    });
    if written.flatten().is_none() {
        let _ = MISSED.cmpxchg(NONE, seq, Relaxed);
    }
}

impl LegacyConsole for Legacy {
    fn write(text: &[u8]) {
        let seq = CONSOLE.seq();
        PASSED.add(seq);
        if panic_on_this_cpu() {
            return write_in_panic(text, seq);
        }
        let written = DEVICE.try_with(|(device, reader)| {
            let log = device.as_mut()?.log.as_mut()?;
            write_missed(log, reader, seq);
            log.write(text, oops_in_progress());
            log.take_error()
        });
        match written {
            None => {
                // An earlier record may have been missed, too.
                let _ = MISSED.cmpxchg(NONE, seq, Relaxed);
                work::update_framebuffer_later();
            }
            Some(Some(error)) => bring_up::report_missing_text(error),
            Some(None) => {}
        }
    }
}

impl DieNotifier for Legacy {
    fn died() {
        if DEVICE.mark_dead() {
            OWNER_FAULTED.store(true, Relaxed);
        }
    }
}
