// SPDX-License-Identifier: GPL-2.0

//! The nbcon console: shows emergencies and panics, in any context. Without a virtual terminal it
//! also prints the log, if the user wants that.
//!
//! With a virtual terminal, tty0 prints the log, and this console only checks that it does. If tty0
//! does not print an emergency soon, this console takes the screen from the terminal, until that
//! prints again. A panic takes the screen at once. Both start on a blank screen, with as many
//! earlier records as fit. [`emergency`](super::emergency) decides which records belong to them.

use core::sync::atomic::{
    fence,
    Ordering, //
};

use kernel::sync::atomic::{
    Atomic,
    AtomicFlag,
    Relaxed, //
};

use crate::{
    console::{
        emergency::{
            self,
            Emergency,
            Records, //
        },
        pacing, //
    },
    device::active,
    linux::{
        clock::{
            microseconds_since,
            ticks, //
        },
        console,
        earlycon,
        kmsg::{
            self,
            Record, //
        },
        nbcon::{
            NbconConsole,
            Priority,
            Registration, //
        },
        notifier::{
            Die,
            DieNotifier,
            Notifier, //
        },
        queue_memory::QueueMemory, //
    },
    scanout::{
        log::Log,
        reader::LogReader, //
    }, //
};

#[cfg(CONFIG_VT)]
use crate::{
    console::emergency::ALERT,
    linux::work, //
};

/// The attributes of the levels from EMERG to DEBUG, as the VT core numbers colours.
const ATTRIBUTES: [u8; 8] = [0x0c, 0x0c, 0x0c, 0x0c, 0x0e, 0x0f, 0x07, 0x08];

/// The time in microseconds after a record of an emergency in which a near record belongs to the
/// same emergency. A host under load may stop the CPU in trouble for a while, while other CPUs
/// print.
const SAME_EMERGENCY_US: u64 = 2_000_000;

/// The time in microseconds for which tty0 has to make no progress to count as stuck.
#[cfg(CONFIG_VT)]
const STUCK_US: u64 = 200_000;

// The fields of the last `Emergency`, which several CPUs may change at a time.
static FIRST: Atomic<u64> = Atomic::new(0);
static END: Atomic<u64> = Atomic::new(0);
static LAGGING_AT: Atomic<u64> = Atomic::new(Emergency::UP_TO_DATE);
/// The time at which a record of an emergency was passed last, in ticks.
static LAST_EMERGENCY: Atomic<u64> = Atomic::new(0);

/// Set when a panic has begun to print.
static IN_PANIC: AtomicFlag = AtomicFlag::new(false);
/// Set when the owner of the screen has faulted.
static OWNER_FAULTED: AtomicFlag = AtomicFlag::new(false);
/// Set while the screen is taken from the virtual terminal. The owner of the screen changes it.
static TAKEN: AtomicFlag = AtomicFlag::new(false);
/// The console loglevel in normal operation. The kernel raises it in trouble, but records from
/// before that stay hidden.
static NORMAL_LOGLEVEL: Atomic<u32> = Atomic::new(7);
/// The sequence number of the record up to which the screen is to show the log.
static PENDING: Atomic<u64> = Atomic::new(0);
/// The sequence number of tty0's next record when tty0 was checked last.
#[cfg(CONFIG_VT)]
static TTY_SEQ: Atomic<u64> = Atomic::new(u64::MAX);
/// The time of the last check that found progress of tty0, in ticks.
#[cfg(CONFIG_VT)]
static TTY_PROGRESS: Atomic<u64> = Atomic::new(0);

/// The nbcon console.
struct Nbcon;

static CONSOLE: Registration<Nbcon> = Registration::new();
static FAULTS: Notifier<Die<Nbcon>> = Notifier::new();

/// The kernel's log.
struct KernelLog;

impl Records for KernelLog {
    fn contains(&self, seq: u64, text: &[u8]) -> bool {
        let contains = |record: Record<'_>| {
            let mut lines = record.lines();
            lines.any(|(_, line)| line.windows(text.len()).any(|part| part == text))
        };
        Record::with(seq, contains).unwrap_or(false)
    }

    fn level(&self, seq: u64) -> Option<u8> {
        Record::with(seq, |record| record.level())
    }
}

/// Registers the console when there is a screen. `has_log` says that an early console has shown the
/// log from its start.
pub(crate) fn start(has_log: bool) {
    static STARTED: AtomicFlag = AtomicFlag::new(false);
    // The printk core may pass no record to the console of a quiet kernel before there is trouble.
    NORMAL_LOGLEVEL.store(kmsg::console_level().into(), Relaxed);
    let is_first = !STARTED.xchg(true, Relaxed);
    CONSOLE.register(is_first && !has_log && !cfg!(CONFIG_VT));
    FAULTS.register();
}

/// Shows the end of the log again, on a screen that is blank. The terminal draws its own text.
pub(crate) fn redraw() {
    console::locked(|_| {
        active::with_reader(|log, reader| {
            TAKEN.store(false, Relaxed);
            if prints_log() && reader.next != LogReader::UNREAD && reader.next != 0 {
                show(log, reader, reader.next - 1, true);
            }
        });
    });
}

/// Unregisters the console when there is no screen any more.
pub(crate) fn stop() {
    CONSOLE.unregister();
}

/// Returns whether the console has the screen, so that the terminal must not draw. In any context.
pub(crate) fn has_screen() -> bool {
    TAKEN.load(Relaxed) || IN_PANIC.load(Relaxed)
}

/// Returns whether the console prints the log in normal operation.
fn prints_log() -> bool {
    cfg!(not(CONFIG_VT)) && CONSOLE.is_preferred() && !earlycon::is_enabled()
}

impl NbconConsole for Nbcon {
    // The formatted text is not used: the log has the level as well, and earlier records.
    fn write(priority: Priority, seq: u64) {
        match priority {
            Priority::Panic => return show_panic(seq),
            Priority::Emergency => {
                // The prompt of a debugger is not in the log.
                let newest = kmsg::newest();
                if seq <= newest {
                    add_emergency(seq, newest);
                }
            }
            Priority::Normal => NORMAL_LOGLEVEL.store(kmsg::console_level().into(), Relaxed),
        }
        if !prints_log() && !TAKEN.load(Relaxed) {
            #[cfg(CONFIG_VT)]
            check_emergency(priority, seq);
            return;
        }
        raise(&PENDING, seq);
        show_pending();
    }
}

impl DieNotifier for Nbcon {
    fn died() {
        if active::owner_has_faulted() {
            OWNER_FAULTED.store(true, Relaxed);
        }
    }
}

/// Shows the log up to [`PENDING`]. If another context owns the screen, that context does it.
fn show_pending() {
    // With a terminal this runs in a timer, which must end even if records keep arriving.
    let max_rounds = if cfg!(CONFIG_VT) { 4 } else { usize::MAX };
    let is_done = (0..max_rounds).any(|_| {
        // See below. The arguments of `kernel::sync::barrier::smp_mb()` differ between kernel
        // versions.
        fence(Ordering::SeqCst);
        let pending = PENDING.load(Relaxed);
        let shown = active::with_reader(|log, reader| {
            if cfg!(CONFIG_VT) && !TAKEN.load(Relaxed) {
                // The terminal has the screen back, but may have found it owned: draw all again.
                TAKEN.store(true, Relaxed);
            } else {
                show(log, reader, pending, false);
            }
        });
        // Another context may have raised PENDING, and found the screen owned: either it finds the
        // screen free, or this context reads its value.
        fence(Ordering::SeqCst);
        shown.is_none() || PENDING.load(Relaxed) == pending
    });
    // If the owner has faulted, it may fault again, and `show_panic()` does not run twice.
    if !is_done || OWNER_FAULTED.load(Relaxed) {
        check_tty_later();
    }
}

/// Shows records that were passed while another context owned the screen, which calls this next.
pub(crate) fn show_missed() {
    if prints_log() || TAKEN.load(Relaxed) {
        show_pending();
    }
}

/// Starts the timer that checks tty0; does nothing without virtual terminals.
fn check_tty_later() {
    #[cfg(CONFIG_VT)]
    work::check_tty_later();
}

/// Adds a record to the last emergency, or starts another one.
fn add_emergency(seq: u64, newest: u64) {
    // A panic has chosen its first record.
    if IN_PANIC.load(Relaxed) {
        return;
    }
    let emergency = last_emergency();
    let before = LAST_EMERGENCY.xchg(ticks(), Relaxed);
    let is_recent = microseconds_since(before) < SAME_EMERGENCY_US;
    let Emergency {
        first,
        end,
        lagging_at,
    } = emergency.add(seq, newest, is_recent, &KernelLog);
    // Another CPU may have started an emergency or a panic meanwhile: that one stays.
    let _ = FIRST.cmpxchg(emergency.first, first, Relaxed);
    LAGGING_AT.store(lagging_at, Relaxed);
    raise(&END, end);
}

/// Raises `to` to `value`; does nothing if `to` is not less.
fn raise(to: &Atomic<u64>, value: u64) {
    let mut before = to.load(Relaxed);
    while before < value {
        match to.cmpxchg(before, value, Relaxed) {
            Ok(_) => return,
            Err(other) => before = other,
        }
    }
}

/// Returns the last emergency.
fn last_emergency() -> Emergency {
    Emergency {
        first: FIRST.load(Relaxed),
        end: END.load(Relaxed),
        lagging_at: LAGGING_AT.load(Relaxed),
    }
}

/// Makes sure that an emergency is shown, by tty0 or by this console.
#[cfg(CONFIG_VT)]
fn check_emergency(priority: Priority, seq: u64) {
    // Lockups are no emergencies to the printk core. Their first record has the level of one. It is
    // checked only if tty0 has not printed it before the console's thread runs.
    if priority == Priority::Normal {
        if console::tty_seq().is_none_or(|next| next > seq) {
            return;
        }
        // The record `seq` may have been dropped from the log by now.
        let mut buffer = [0; 256];
        match Record::read(seq, &mut buffer) {
            Some(record) if record.level() <= ALERT => add_emergency(record.seq, record.seq),
            _ => return,
        }
    }
    check_tty_later();
}

/// Shows a record of a panic, and takes the screen over from its owner as [`active::take_over`]
/// does.
///
/// If the owner of the screen has faulted, drawing may fault again, and a fault during a panic ends
/// it. Then other consoles print first, and the screen shows all at the last record, when a fault
/// does no harm if the machine is to reboot.
fn show_panic(seq: u64) {
    static SHOWN: AtomicFlag = AtomicFlag::new(false);

    // Earlier records may not have been passed; they are shown as well.
    let newest = kmsg::newest().max(seq);
    if !IN_PANIC.xchg(true, Relaxed) {
        FIRST.store(last_emergency().first_of_panic(newest, &KernelLog), Relaxed);
    }
    let is_last = emergency::is_end_of_panic(seq, &KernelLog);
    if OWNER_FAULTED.load(Relaxed) && !is_last {
        return;
    }
    active::take_over(is_last, |log, reader, is_new| {
        let clear = !SHOWN.xchg(true, Relaxed) || is_new;
        if clear || reader.next <= newest {
            show(log, reader, newest, clear);
        }
    });
}

/// Shows the log up to the record `last`. `clear` starts on a blank screen, with as many records
/// before the emergency as fit.
fn show(log: &mut Log<'static, QueueMemory>, reader: &mut LogReader, last: u64, clear: bool) {
    // Without an emergency, lines follow each other as in any log.
    let emergency = FIRST.load(Relaxed);
    let first = match has_screen() {
        true => emergency::with_prelude(emergency.min(last), &KernelLog),
        false => u64::MAX,
    };
    if clear {
        log.clear();
        reader.next = 0;
    } else if reader.next == LogReader::UNREAD {
        reader.next = last;
    }
    // Do not read records that would scroll off the screen at once.
    let least = first.min(last).saturating_sub(log.grid().rows() as u64);
    reader.next = reader.next.max(least);
    let loglevel = u32::from(kmsg::console_level());
    let normal_loglevel = NORMAL_LOGLEVEL.load(Relaxed);
    if has_screen() {
        log.end_framebuffer();
    }
    while reader.next <= last {
        let Some(record) = Record::read(reader.next, &mut reader.buffer) else {
            break;
        };
        // Records before the log's first one are not counted as dropped.
        if record.seq > reader.next && reader.next > least {
            log.append_dropped(record.seq - reader.next);
        }
        reader.next = record.seq + 1;
        let is_urgent = record.seq >= first;
        if is_urgent && reader.emergency != emergency {
            // The start of a new emergency is retained on the screen.
            reader.emergency = emergency;
            log.end_urgent();
        }
        if u32::from(record.level()) >= if is_urgent { loglevel } else { normal_loglevel } {
            continue;
        }
        for (level, line) in record.lines() {
            #[expect(clippy::indexing_slicing, reason = "three bits are below 8")]
            let attribute = ATTRIBUTES[usize::from(level & 7)];
            log.append(line, attribute, is_urgent);
            log.append(b"\n", attribute, is_urgent);
        }
    }
    if has_screen() {
        log.show();
    } else {
        pacing::show(log);
    }
}

/// Returns whether tty0 has printed the last emergency.
#[cfg(CONFIG_VT)]
pub(crate) fn is_printed() -> bool {
    console::tty_seq().is_none_or(|seq| seq >= END.load(Relaxed))
}

/// Checks whether tty0 has printed the last emergency. Takes the screen from the terminal if that
/// is stuck.
#[cfg(CONFIG_VT)]
fn check_tty() {
    let Some(seq) = console::tty_seq() else {
        // The user does not want the log on this screen.
        return;
    };
    let is_shown = seq >= END.load(Relaxed) || has_screen();
    if is_shown && !OWNER_FAULTED.load(Relaxed) {
        TTY_SEQ.store(u64::MAX, Relaxed);
        if TAKEN.load(Relaxed) {
            show_pending();
        }
        return;
    }
    // If tty0 has advanced, it prints, or may have just begun. Several CPUs may check.
    if TTY_SEQ.xchg(seq, Relaxed) != seq {
        TTY_PROGRESS.store(ticks(), Relaxed);
    } else if microseconds_since(TTY_PROGRESS.load(Relaxed)) >= STUCK_US {
        let take = |log: &mut Log<'static, QueueMemory>, reader: &mut LogReader| {
            TAKEN.store(true, Relaxed);
            show(log, reader, kmsg::newest(), true);
        };
        let taken = if OWNER_FAULTED.xchg(false, Relaxed) {
            active::take_over(false, |log, reader, _| take(log, reader))
        } else {
            active::with_reader(take)
        };
        if taken.is_some() {
            // Show records that were passed meanwhile.
            return show_pending();
        }
    }
    check_tty_later();
}

/// Runs [`check_tty`], in the timer of [`work::check_tty_later`].
#[cfg(CONFIG_VT)]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_check_tty() {
    check_tty();
}

/// Gives the screen back to the terminal, which prints again. Returns whether this console had
/// taken the screen, so that the terminal has to draw all of it. The caller owns the screen, with
/// the console lock held.
#[cfg(CONFIG_VT)]
pub(crate) fn return_screen() -> bool {
    let is_returned = !IN_PANIC.load(Relaxed) && TAKEN.xchg(false, Relaxed);
    if is_returned {
        // A framebuffer may have been shown before.
        work::update_framebuffer_later();
    }
    is_returned
}
