// SPDX-License-Identifier: GPL-2.0

//! Any stage: what the kernel says when it is in trouble, or dies, from whatever context.
//!
//! The printk core offers every record of the log to our console without the console lock
//! ([`linux::nbcon`](crate::linux::nbcon)). With a virtual terminal, tty0 is who shows them, and we
//! only look whether it does: if an emergency is not printed soon, the screen is taken from it
//! until it stirs. A panic takes the screen at once. Both begin on a blank screen, with what the
//! log has. Without a virtual terminal the console shows all, if the user wants that.

use core::sync::atomic::{
    fence,
    AtomicBool,
    AtomicU64,
    AtomicU8,
    Ordering, //
};

#[cfg(CONFIG_VT)]
use crate::linux::bindings;
use crate::{
    console::pacing,
    device::screen,
    linux::{
        console,
        earlycon,
        kmsg::{
            self,
            Record,
            RECORD_BYTES, //
        },
        nbcon,
        shared::{
            microseconds_since,
            ticks,
            Shared, //
        }, //
    },
    scanout::log::Log, //
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

/// How far apart records are at most that belong together, though other CPUs print as well.
const NEAR: u64 = 16;
/// The same of those that follow each other.
const NEXT: u64 = 2;
/// How far back a beginning is looked for that other CPUs have buried.
const FLOOD: u64 = 8192;

/// How warnings and BUG() begin.
const CUT: &[u8] = b"[ cut here ]";

/// Colours of the levels, from EMERG to DEBUG, as the VT numbers them.
const ATTRIBUTES: [u8; 8] = [0x0c, 0x0c, 0x0c, 0x0c, 0x0e, 0x0f, 0x07, 0x08];

/// The records of the last emergency: the first, and the one after the last.
static FIRST: AtomicU64 = AtomicU64::new(0);
static AFTER: AtomicU64 = AtomicU64::new(0);
/// The record that was offered last as one of an emergency's, if others were to follow: the console
/// lags behind.
static OFFERED: AtomicU64 = AtomicU64::new(u64::MAX);
/// When that was, and how soon after it what is near is the same emergency's, in microseconds: a
/// host with more to do may hold up the CPU in trouble for a while, when others print on.
static NOTED: AtomicU64 = AtomicU64::new(0);
const SOON: u64 = 2_000_000;
/// Whether a panic has begun to print.
static DYING: AtomicBool = AtomicBool::new(false);
/// Whether it was painting that faulted.
static FAULTY: AtomicBool = AtomicBool::new(false);
/// Whether the screen was taken from the virtual terminal. Changed by who owns the screen.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The level from which on records are not for consoles, as long as the kernel does well: in
/// trouble it raises that, and what was not to be seen before is still not to be seen.
static LEVEL: AtomicU8 = AtomicU8::new(7);
/// The record up to which the screen is due to show the log.
static DUE: AtomicU64 = AtomicU64::new(0);
/// Where the terminal's console was when it was last looked at, and since when.
#[cfg(CONFIG_VT)]
static TERMINAL: AtomicU64 = AtomicU64::new(u64::MAX);
#[cfg(CONFIG_VT)]
static SINCE: AtomicU64 = AtomicU64::new(0);
/// How long it has to stay there to be stuck, in microseconds.
#[cfg(CONFIG_VT)]
const STUCK: u64 = 200_000;

const NOTHING_READ: u64 = u64::MAX;

/// What reads the log for the screen; with whom owns that.
pub(crate) struct Reader {
    /// The record that comes next, or [`NOTHING_READ`].
    next: u64,
    /// The first record of the emergency that was shown last.
    emergency: u64,
    buffer: [u8; RECORD_BYTES],
}

impl Reader {
    /// A reader that has not read.
    pub(crate) const fn new() -> Self {
        Self {
            next: NOTHING_READ,
            emergency: 0,
            buffer: [0; RECORD_BYTES],
        }
    }
}

/// There is a screen, on which an early console `has_log`, or not.
pub(crate) fn begin(has_log: bool) {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    // To a quiet kernel's console no record may be offered before there is trouble.
    LEVEL.store(kmsg::console_level(), Ordering::Relaxed);
    let again = BEGUN.swap(true, Ordering::Relaxed);
    nbcon::register(!again && !has_log && !cfg!(CONFIG_VT));
}

/// The screen is another one than before, or was asleep, and blank: the log's end is shown again.
/// The terminal draws its own.
pub(crate) fn lit() {
    console::locked(|| {
        screen::with_reader(|log, reader| {
            TAKEN.store(false, Ordering::Relaxed);
            if shows_log() && reader.next != NOTHING_READ && reader.next != 0 {
                show(log, reader, reader.next - 1, true);
            }
        });
    });
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
    match urgency {
        Urgency::Panic => return die(number),
        Urgency::Emergency => {
            // A debugger's prompt is not in the log.
            let newest = kmsg::newest();
            if number <= newest {
                note(number, newest);
            }
        }
        Urgency::Normal => LEVEL.store(kmsg::console_level(), Ordering::Relaxed),
    }
    if !shows_log() && !TAKEN.load(Ordering::Relaxed) {
        #[cfg(CONFIG_VT)]
        watch(urgency, number);
        return;
    }
    DUE.fetch_max(number, Ordering::Relaxed);
    catch_up();
}

/// Shows the log as far as it is due, unless somebody else has the screen, who does it then.
fn catch_up() {
    // What looks is a timer: who prints faster than we show must not keep it.
    let rounds = if cfg!(CONFIG_VT) { 4 } else { usize::MAX };
    let is_done = (0..rounds).any(|_| {
        // As below.
        fence(Ordering::SeqCst);
        let due = DUE.load(Ordering::Relaxed);
        let shown = screen::with_reader(|log, reader| {
            if cfg!(CONFIG_VT) && !TAKEN.load(Ordering::Relaxed) {
                // The terminal has it back, but may have found us here: it draws all once more.
                TAKEN.store(true, Ordering::Relaxed);
            } else {
                show(log, reader, due, false);
            }
        });
        // Somebody else may have come, and seen that the screen was not free: either he saw it
        // free, or what he has is seen here.
        fence(Ordering::SeqCst);
        shown.is_none() || DUE.load(Ordering::Relaxed) == due
    });
    // Not by who has just faulted: that may come again, and die() is not entered twice.
    if !is_done || FAULTY.load(Ordering::Relaxed) {
        look_later();
    }
}

/// Has [`look`] called, where there is a terminal to look at.
fn look_later() {
    #[cfg(CONFIG_VT)]
    // SAFETY: `virtgpu_look_later()` queues an irq_work, here and on other CPUs, which may be done
    // in any context; from NMI it leaves the other CPUs out.
    unsafe {
        bindings::virtgpu_look_later()
    };
}

/// Where an emergency begins of which `number` is the first record that is offered: the console may
/// lag behind what its CPU has just said.
fn begins(number: u64, newest: u64) -> u64 {
    if number + NEXT >= newest {
        return number;
    }
    let mut late = (number.max(newest.saturating_sub(FLOOD))..=newest).rev();
    late.find(|&it| says(it, CUT)).unwrap_or(newest)
}

/// A record is of an emergency: of the last one, or of another. `newest` is the log's newest
/// record.
fn note(number: u64, newest: u64) {
    // A panic has chosen where it begins.
    if DYING.load(Ordering::Relaxed) {
        return;
    }
    let lags = number + NEXT < newest;
    let (first, after) = (
        FIRST.load(Ordering::Relaxed),
        AFTER.load(Ordering::Relaxed), //
    );
    let before = NOTED.swap(ticks(), Ordering::Relaxed);
    // Other CPUs print as well, and one may come twice. Who lags behind is offered one after the
    // other, which may begin with what is not the emergency's.
    let follows = number != 0 && OFFERED.load(Ordering::Relaxed) == number - 1;
    let is_near = (first..=after.saturating_add(NEXT)).contains(&number);
    let belongs = follows || is_near && (!lags || microseconds_since(before) < SOON);
    let mut last = number;
    if after == 0 || !belongs {
        let begin = begins(number, newest);
        FIRST.store(begin, Ordering::Relaxed);
        last = last.max(begin);
    }
    OFFERED.store(if lags { number } else { u64::MAX }, Ordering::Relaxed);
    AFTER.fetch_max(last + 1, Ordering::Relaxed);
}

/// Sees to it that an emergency is shown, by tty0 or by us.
#[cfg(CONFIG_VT)]
fn watch(urgency: Urgency, number: u64) {
    // Lockups are no emergencies to the printk core. Their first line has the level of one; it is
    // worth a look only if tty0 has not shown it before our thread came here.
    if urgency == Urgency::Normal {
        if console::terminal_is_at().is_none_or(|at| at > number) {
            return;
        }
        // The number is where the console is; what was there may have been dropped.
        let mut buffer = [0; 256];
        match Record::read(number, &mut buffer) {
            Some(record) if record.level() <= ALERT => note(record.number, record.number),
            _ => return,
        }
    }
    look_later();
}

/// Somebody has faulted, perhaps while painting.
pub(crate) fn faulted() {
    if screen::abandon() {
        FAULTY.store(true, Ordering::Relaxed);
    }
}

/// Shows a record of a panic, whoever has the screen.
///
/// If it was painting that faulted, that may happen again, and for ever: a fault while the kernel
/// dies of one is its last. Then the other consoles go first, and the screen follows with the last
/// line; nothing is risked if the machine is to start again.
fn die(number: u64) {
    static SHOWN: AtomicBool = AtomicBool::new(false);

    // What was not offered before comes first; it is shown with the rest.
    let newest = kmsg::newest().max(number);
    if !DYING.swap(true, Ordering::Relaxed) {
        // Where consoles have threads, all of it may have been said before it is offered.
        let late = newest.saturating_sub(FLOOD)..=newest;
        let first = late
            .rev()
            .find(|&it| says(it, b"Kernel panic - not syncing"));
        let first = first.unwrap_or(newest);
        // An emergency is the panic's if there is next to nothing between them.
        let after = AFTER.load(Ordering::Relaxed);
        if !(after..after.saturating_add(NEAR)).contains(&first) || after == 0 {
            FIRST.store(first, Ordering::Relaxed);
        }
    }
    let last = says(number, b"---[ end Kernel panic");
    if FAULTY.load(Ordering::Relaxed) && !last {
        return;
    }
    screen::seize(last, |log, reader, begun| {
        let again = !SHOWN.swap(true, Ordering::Relaxed) || begun;
        if again || reader.next <= newest {
            show(log, reader, newest, again);
        }
    });
}

/// Whether a record has these words in it.
fn says(number: u64, words: &[u8]) -> bool {
    let says = |record: Record<'_>| {
        let mut lines = record.lines();
        lines.any(|(_, line)| line.windows(words.len()).any(|part| part == words))
    };
    Record::look(number, says).unwrap_or(false)
}

/// Shows the log up to a record; `again` begins on a blank screen, with what fits before the
/// emergency.
fn show(log: &mut Log<'static, Shared>, reader: &mut Reader, last: u64, again: bool) {
    // Elsewhere lines follow each other as in any log.
    let emergency = FIRST.load(Ordering::Relaxed);
    let first = match has_screen() {
        true => prelude(emergency.min(last)),
        false => u64::MAX,
    };
    if again {
        log.clear();
        reader.next = 0;
    } else if reader.next == NOTHING_READ {
        reader.next = last;
    }
    // What would scroll away is not worth being read.
    let least = first.min(last).saturating_sub(log.grid().rows() as u64);
    reader.next = reader.next.max(least);
    let (level, usual) = (kmsg::console_level(), LEVEL.load(Ordering::Relaxed));
    while reader.next <= last {
        let Some(record) = Record::read(reader.next, &mut reader.buffer) else {
            break;
        };
        // Before the log's first record nothing was lost that this screen should have shown.
        if record.number > reader.next && reader.next > least {
            log.remember_dropped(record.number - reader.next);
        }
        reader.next = record.number + 1;
        let is_urgent = record.number >= first;
        if is_urgent && reader.emergency != emergency {
            // Another one: how this begins stays now.
            reader.emergency = emergency;
            log.calm();
        }
        if record.level() >= if is_urgent { level } else { usual } {
            continue;
        }
        for (level, line) in record.lines() {
            #[expect(clippy::indexing_slicing, reason = "three bits are below 8")]
            let attribute = ATTRIBUTES[usize::from(level & 7)];
            log.remember(line, attribute, is_urgent);
            log.remember(b"\n", attribute, is_urgent);
        }
    }
    if has_screen() {
        log.show();
    } else {
        pacing::show(log);
    }
}

/// Where an emergency that begins with the record `first` really begins.
fn prelude(first: u64) -> u64 {
    let mut begin = first;
    for it in (first.saturating_sub(PRELUDE)..first).rev() {
        match Record::look(it, |record| record.level()) {
            Some(level) if level <= ALERT => begin = it,
            // Another CPU's.
            Some(_) if begin - it <= NEXT => {}
            _ => break,
        }
    }
    // BUG() says where it is before it is an emergency.
    if says(first, b"Internal error: ") {
        let near = (begin.saturating_sub(NEAR)..begin).rev();
        let mut near = near.take_while(|&it| !says(it, b"---[ end "));
        return near.find(|&it| says(it, CUT)).unwrap_or(begin);
    }
    begin
}

/// Some time after an emergency: has the terminal shown it?
#[cfg(CONFIG_VT)]
pub(crate) fn look() {
    let Some(at) = console::terminal_is_at() else {
        // Nobody wants the log on this screen.
        return;
    };
    let is_shown = at >= AFTER.load(Ordering::Relaxed) || has_screen();
    if is_shown && !FAULTY.load(Ordering::Relaxed) {
        TERMINAL.store(u64::MAX, Ordering::Relaxed);
        if TAKEN.load(Ordering::Relaxed) {
            catch_up();
        }
        return;
    }
    // If it has moved, it prints, or may have just begun. More than one CPU may look.
    if TERMINAL.swap(at, Ordering::Relaxed) != at {
        SINCE.store(ticks(), Ordering::Relaxed);
    } else if microseconds_since(SINCE.load(Ordering::Relaxed)) >= STUCK {
        let take = |log: &mut Log<'static, Shared>, reader: &mut Reader| {
            TAKEN.store(true, Ordering::Relaxed);
            show(log, reader, kmsg::newest(), true);
        };
        let taken = if FAULTY.swap(false, Ordering::Relaxed) {
            // Who has the screen is dead.
            screen::seize(false, |log, reader, _| take(log, reader))
        } else {
            screen::with_reader(take)
        };
        if taken.is_some() {
            // What came meanwhile was left to us.
            return catch_up();
        }
    }
    look_later();
}

/// The terminal stirs, with the console lock and the screen: it gets that back. Returns whether it
/// was taken, and all is to be drawn.
#[cfg(CONFIG_VT)]
pub(crate) fn give_back() -> bool {
    !DYING.load(Ordering::Relaxed) && TAKEN.swap(false, Ordering::Relaxed)
}
