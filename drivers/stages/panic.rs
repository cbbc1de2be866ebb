// SPDX-License-Identifier: GPL-2.0

//! Any stage: what the kernel says when it is in trouble, or dies, from whatever context.
//!
//! The printk core offers every record of the log to our console without the console lock
//! ([`linux::nbcon`](crate::linux::nbcon)). With a virtual terminal, tty0 is who shows them, and we only
//! look whether it does: if an emergency is not printed soon, the screen is taken from it until it
//! stirs. A panic takes the screen at once. Both begin on a blank screen, with what the log has.
//! Without a virtual terminal the console shows all, if the user wants that.

#[cfg(CONFIG_VT)]
use core::sync::atomic::AtomicU32;
use core::sync::atomic::{
    AtomicBool,
    AtomicU64,
    Ordering, //
};

#[cfg(CONFIG_VT)]
use crate::linux::bindings;
use crate::{
    linux::{
        console,
        earlycon,
        kmsg::{
            self,
            Record,
            RECORD_BYTES, //
        },
        nbcon,
        owner::{
            is_dying,
            Owned, //
        },
        shared::Shared, //
    },
    stages::{
        device,
        log::Log, //
    },
};

/// How urgent a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A message like others.
    Normal,
    /// Of an oops, a warning, a lockup, a stall.
    Emergency,
    /// The kernel dies.
    Panic,
}

/// What the kernel says before an emergency has a name, such as which address it cannot handle: so
/// many records at most, of level ALERT or EMERG.
const PRELUDE: u64 = 24;
const ALERT: u8 = 1;

/// Colours of the levels, from EMERG to DEBUG, as the VT numbers them.
const ATTRIBUTES: [u8; 8] = [0x0c, 0x0c, 0x0c, 0x0c, 0x0e, 0x0f, 0x07, 0x08];

/// The records of the last emergency: the first, and the one after the last.
static FIRST: AtomicU64 = AtomicU64::new(0);
static AFTER: AtomicU64 = AtomicU64::new(0);
/// Whether a panic has begun to print.
static DYING: AtomicBool = AtomicBool::new(false);
/// Whether it was painting that faulted.
static FAULTY: AtomicBool = AtomicBool::new(false);
/// Whether the screen was taken from the virtual terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Where the terminal's console was when it was last looked at.
#[cfg(CONFIG_VT)]
static TERMINAL: AtomicU64 = AtomicU64::new(u64::MAX);

/// How often the screen was not free for an emergency, and how often it may be; twice a second.
#[cfg(CONFIG_VT)]
static BUSY: AtomicU32 = AtomicU32::new(0);
#[cfg(CONFIG_VT)]
const PATIENCE: u32 = 20;

static READER: Owned<Reader> = Owned::new(Reader {
    next: NOTHING_READ,
    buffer: [0; RECORD_BYTES],
});

const NOTHING_READ: u64 = u64::MAX;

/// What reads the log for the screen.
struct Reader {
    /// The record that comes next, or [`NOTHING_READ`].
    next: u64,
    buffer: [u8; RECORD_BYTES],
}

/// There is a screen, on which an early console `has_log`, or not.
pub(crate) fn begin(has_log: bool) {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    let again = BEGUN.swap(true, Ordering::Relaxed);
    nbcon::register(!again && !has_log && !cfg!(CONFIG_VT));
}

/// The screen is another one than before, or was asleep, and blank: the log's end is shown again.
pub(crate) fn lit() {
    if shows_log() {
        console::locked(|| {
            let next = READER.with(|reader| reader.next).unwrap_or(NOTHING_READ);
            if let Some(last) = next.checked_sub(1).filter(|_| next != NOTHING_READ) {
                device::with_log(|log| show(log, last, true));
            }
        });
    }
}

/// There is none any more.
pub(crate) fn end() {
    nbcon::unregister();
}

/// Whether what the terminal draws is not to be seen.
pub(crate) fn has_screen() -> bool {
    TAKEN.load(Ordering::Relaxed) || DYING.load(Ordering::Relaxed)
}

/// Whether the console shows the log like others do.
fn shows_log() -> bool {
    cfg!(not(CONFIG_VT)) && nbcon::is_wanted() && !earlycon::is_enabled()
}

/// The printk core offers a record. What it made of it is not looked at: the log has its level as
/// well, and those before it.
pub(crate) fn write(urgency: Urgency, number: u64) {
    if urgency == Urgency::Panic {
        die(number);
    } else {
        if urgency == Urgency::Emergency {
            note(number);
        }
        if shows_log() || TAKEN.load(Ordering::Relaxed) {
            device::with_log(|log| show(log, number, false));
        } else {
            #[cfg(CONFIG_VT)]
            watch(urgency, number);
        }
    }
}

/// A record is of an emergency.
fn note(number: u64) {
    if AFTER.swap(number + 1, Ordering::Relaxed) != number {
        FIRST.store(number, Ordering::Relaxed);
    }
}

/// Sees to it that an emergency is shown, by tty0 or by us.
#[cfg(CONFIG_VT)]
fn watch(urgency: Urgency, number: u64) {
    // Lockups are no emergencies to the printk core. Their first line has the level of one; it is worth
    // a look only if tty0 has not shown it before our thread came here.
    if urgency == Urgency::Normal {
        let is_behind = console::terminal_is_at().is_some_and(|at| at <= number);
        let is_urgent = |reader: &mut Reader| {
            Record::read(number, &mut reader.buffer).is_some_and(|record| record.level() <= ALERT)
        };
        if !is_behind || !READER.with(is_urgent).unwrap_or(false) {
            return;
        }
        note(number);
    }
    // SAFETY: Any context will do.
    unsafe { bindings::virtgpu_look_later() };
}

/// Shows a record of a panic, whoever has the screen.
///
/// If it was us who faulted, that may happen again, and for ever: a fault while the kernel dies of one
/// is its last. Then the other consoles go first, and the screen follows with the last line; nothing is
/// risked if the machine is to start again.
fn die(number: u64) {
    let is_first = !DYING.swap(true, Ordering::Relaxed);
    if is_first {
        let after = AFTER.load(Ordering::Relaxed);
        // An emergency is the panic's if there is next to nothing between them.
        if !(after..after.saturating_add(4)).contains(&number) || after == 0 {
            FIRST.store(number, Ordering::Relaxed);
        }
    }
    if device::was_interrupted() {
        FAULTY.store(true, Ordering::Relaxed);
    }
    if FAULTY.load(Ordering::Relaxed) && !is_last(number) {
        return;
    }
    device::seize(|log, begun| {
        show(log, number, begun || is_first);
    });
}

/// Whether nothing comes after a record, not even a new start.
fn is_last(number: u64) -> bool {
    const LAST: &[u8] = b"---[ end Kernel panic";

    let read = |reader: &mut Reader| {
        Record::read(number, &mut reader.buffer).is_some_and(|record| {
            record
                .lines()
                .any(|(_, line)| line.windows(LAST.len()).any(|part| part == LAST))
        })
    };
    READER.seize(|reader, _| read(reader))
}

/// Shows the log up to a record; `again` begins on a blank screen, with what fits before the emergency.
fn show(log: &mut Log<'static, Shared>, last: u64, again: bool) {
    let mut read = |reader: &mut Reader| {
        // Elsewhere lines follow each other as in any log.
        let first = if has_screen() {
            FIRST.load(Ordering::Relaxed).min(last)
        } else {
            u64::MAX
        };
        let rows = log.grid().rows() as u64;
        if again {
            log.clear();
            reader.next = 0;
        } else if reader.next == NOTHING_READ {
            reader.next = last;
        }
        let first = prelude(first, reader.next, &mut reader.buffer);
        // What would scroll away is not worth being read.
        let least = first.min(last).saturating_sub(rows);
        reader.next = reader.next.max(least);
        let level = kmsg::console_level();
        while reader.next <= last {
            let Some(record) = Record::read(reader.next, &mut reader.buffer) else {
                break;
            };
            reader.next = record.number + 1;
            if record.level() >= level {
                continue;
            }
            for (level, line) in record.lines() {
                let attribute = ATTRIBUTES[usize::from(level & 7)];
                log.remember(line, attribute, record.number >= first);
                log.remember(b"\n", attribute, record.number >= first);
            }
        }
        log.show();
    };
    if is_dying() {
        READER.seize(|reader, _| read(reader));
    } else {
        READER.with(read);
    }
}

/// Where an emergency that begins with the record `first` really begins, but not before `from`.
fn prelude(first: u64, from: u64, buffer: &mut [u8; RECORD_BYTES]) -> u64 {
    if first == u64::MAX {
        return first;
    }
    let mut begin = first;
    while begin > from && first - begin < PRELUDE {
        match Record::read(begin - 1, buffer) {
            Some(record) if record.number + 1 == begin && record.level() <= ALERT => begin -= 1,
            _ => break,
        }
    }
    begin
}

/// Some time after an emergency: has the terminal shown it?
#[cfg(CONFIG_VT)]
pub(crate) fn look() {
    let after = AFTER.load(Ordering::Relaxed);
    let Some(at) = console::terminal_is_at() else {
        // Nobody wants the log on this screen.
        return;
    };
    if at >= after || has_screen() {
        TERMINAL.store(u64::MAX, Ordering::Relaxed);
        return;
    }
    if TERMINAL.swap(at, Ordering::Relaxed) != at {
        // It prints, or may have just begun.
        // SAFETY: Any context will do.
        return unsafe { bindings::virtgpu_look_later() };
    }
    TAKEN.store(true, Ordering::Relaxed);
    if device::with_log(|log| show(log, after - 1, true)).is_some() {
        BUSY.store(0, Ordering::Relaxed);
    } else if BUSY.fetch_add(1, Ordering::Relaxed) < PATIENCE {
        TAKEN.store(false, Ordering::Relaxed);
        // SAFETY: Any context will do.
        unsafe { bindings::virtgpu_look_later() };
    } else {
        // Who has it is not coming back, or would have by now.
        device::seize(|log, _| show(log, after - 1, true));
    }
}

/// The terminal stirs, with the console lock held: it gets the screen back. Returns whether it was
/// taken, and all is to be drawn.
#[cfg(CONFIG_VT)]
pub(crate) fn give_back() -> bool {
    !DYING.load(Ordering::Relaxed) && TAKEN.swap(false, Ordering::Relaxed)
}
