// SPDX-License-Identifier: GPL-2.0

//! Tests of the whole driver, from configuration space to the text on the screen, on a complete
//! device: without faults, with each [`Fault`] at several moments, and with some of them at random.
//!
//! Whatever the device does, the driver takes a bounded number of steps, writes to no memory but
//! its own, and either shows the text or gives the reason in one line. When the device is correct
//! again, a second takeover shows the text.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    rc::Rc, //
};

use proptest::prelude::*;

use crate::{
    cases,
    display::{
        Noise,
        Terminal, //
    },
    faulty::{
        Bus,
        ConfigSpace,
        Fault,
        Gpu,
        Kind,
        Planned,
        Window,
        FUNCTION,
        SLOT, //
    },
    fuzz::bytes::is_a_line,
    gpu::config::displays_changed,
    guest::{
        Guest,
        WAIT_RUNS, //
    },
    host::Host,
    pci::{
        bars::Space,
        Address,
        Function,
        VIRTIO_GPU, //
    },
    qemu::Qemu,
    scanout::{
        display::DisplayError,
        log::{
            Log,
            LogError,
            Memory,
            Options,
            TEXT_WORDS, //
        }, //
    },
    text::ATTRIBUTE,
    virtio::{
        mmio::{
            Mmio,
            REGISTER_AND_CONFIG_BYTES, //
        },
        pci::{
            BarRegion,
            Capabilities,
            Pci,
            BARS, //
        },
        queue::QUEUE_BYTES,
        setup::{
            initialise,
            quiesce,
            reset,
            Addresses,
            Requested,
            SetupError, //
        },
        DeviceStatus,
        Features,
        Hal,
        Transport,
        VirtQueue, //
    }, //
};

/// The sizes of the displays.
const MODES: [(u32, u32); 2] = [(320, 200), (336, 208)];
/// The size in bytes of the memory that the device sees.
const SHARED: usize = QUEUE_BYTES + (160 << 10);
/// The size in words of the guard areas around the memory that the device does not know, and their
/// content.
const GUARD: usize = 64;
const GUARDED: u32 = 0x3c5a_a5c3;
/// The number of runs of an idle device between two takeovers.
const REST: usize = 2 * WAIT_RUNS;
/// The maximum number of accesses to registers in a takeover, if nothing waits.
const ACCESSES: usize = 300;
/// The number of lines of text, before and after the font changes.
const LINES: [usize; 2] = [13, 3];

/// The transport of a device, and the driver's options.
#[derive(Clone, Copy, Debug)]
struct Setting {
    kind: Kind,
    /// Whether the driver probes whether the device pans, which it does.
    pans: bool,
    /// Whether the device runs at the takeover, in the state in which the driver leaves it.
    runs: bool,
    /// Whether the text is in memory that the device does not know.
    apart: bool,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        kind: Kind::Pci,
        pans: true,
        runs: false,
        apart: false,
    },
    Setting {
        kind: Kind::Pci,
        pans: false,
        runs: true,
        apart: true,
    },
    Setting {
        kind: Kind::Mmio,
        pans: false,
        runs: false,
        apart: false,
    },
    Setting {
        kind: Kind::Mmio,
        pans: true,
        runs: true,
        apart: true,
    },
];

/// Memory for one driver after the other. A device that was not reset keeps it for good.
struct Block {
    guest: Guest,
    shared: &'static mut [u32],
    text: Vec<u32>,
}

impl Block {
    fn new() -> Self {
        let guest = Guest::with_guards(SHARED);
        Self {
            shared: guest.words(QUEUE_BYTES, (SHARED - QUEUE_BYTES) / 4),
            text: vec![GUARDED; TEXT_WORDS + 2 * GUARD],
            guest,
        }
    }

    /// Returns a copy of the shared memory.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SHARED];
        self.guest.copy_out(0, &mut bytes);
        bytes
    }

    /// Checks that the guard areas are unchanged.
    fn check(&self) {
        assert!(self.guest.are_guards_untouched(SHARED));
        let (before, behind) = (&self.text[..GUARD], &self.text[GUARD + TEXT_WORDS..]);
        assert!([before, behind]
            .concat()
            .iter()
            .all(|&word| word == GUARDED));
    }
}

/// The reason why the driver has no screen, or why text is missing on it.
struct Failure {
    why: String,
    /// Whether the device may still write to the memory.
    keeps_memory: bool,
}

impl Failure {
    fn new(why: impl core::fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            keeps_memory: false,
        }
    }
}

/// A device, the memory for the driver, and the fonts.
struct Machine {
    setting: Setting,
    bus: Rc<Bus>,
    host: Rc<RefCell<Host<Qemu>>>,
    block: Block,
    fonts: [Noise; 2],
    /// The number of takeovers so far.
    takeovers: u32,
}

/// A log with the transport of its device.
struct Running<'a> {
    log: Log<'a, Guest>,
    transport: Box<dyn Transport>,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self {
            setting: SETTINGS[0],
            bus: Rc::new(Bus::new(Kind::Pci, false)),
            host: Rc::new(RefCell::new(Host::new(Qemu::default(), &MODES))),
            block: Block::new(),
            fonts: [Noise::new(8, 16), Noise::new(10, 20)],
            takeovers: 0,
        };
        machine.begin(SETTINGS[0]);
        machine
    }

    /// Replaces the device, but not the memory.
    fn begin(&mut self, setting: Setting) {
        self.setting = setting;
        self.bus = Rc::new(Bus::new(setting.kind, setting.pans));
        *self.host.borrow_mut() = Host::new(Qemu::default(), &MODES);
        self.plug();
    }

    /// Gives the device access to the memory.
    fn plug(&self) {
        let gpu = Gpu::new(&self.bus, &self.host, &MODES, SHARED);
        self.block.guest.plug(gpu);
    }

    /// Takes the device over and shows text on it, as the driver's phases do. Returns why text is
    /// missing, if it is.
    fn take_over(&mut self, leaves_picture: bool) -> Result<(), String> {
        self.takeovers += 1;
        let resource = self.takeovers << 8;
        let (guest, bus) = (self.block.guest.clone(), self.bus.clone());
        let runs = guest.runs();
        let result = match self.setting.kind {
            Kind::Pci => self.take_pci(resource, leaves_picture),
            Kind::Mmio => self.take_mmio(resource, leaves_picture),
        };
        let keeps_memory = result.as_ref().is_err_and(|failure| failure.keeps_memory);
        // A faulty device has time for writes that it should not do.
        let before = self.block.bytes();
        (0..REST).for_each(|_| guest.run());
        assert!(keeps_memory || self.block.bytes() == before);
        self.block.check();
        // A BAR that does not change when its size is read seems larger than it is.
        if !bus.is_planned(Fault::BarFixed) {
            assert_eq!(bus.invalid_accesses.get(), 0, "no registers are there");
        }
        // The driver waits for resets and queues, and each of the faults delays one answer.
        let waits = 6 + bus.faults();
        assert!(guest.runs() - runs <= waits * WAIT_RUNS + 2 * REST);
        assert!((bus.accesses() as usize) < ACCESSES + 4 * waits * WAIT_RUNS);
        if keeps_memory {
            self.block = Block::new();
            self.plug();
        }
        result.map_err(|Failure { why, .. }| {
            is_a_line(&why);
            why
        })
    }

    /// Takes a PCI function over, as `Search::try_pci()` does.
    fn take_pci(&mut self, resource: u32, leaves_picture: bool) -> Result<(), Failure> {
        let (bus, device, function) = FUNCTION;
        let at = Address::new(bus, device, function).unwrap();
        let mut config = ConfigSpace(self.bus.clone());
        let mut gpu = Function::new(&mut config, at);
        if gpu.read32(0) != VIRTIO_GPU {
            return Err(Failure::new("no virtio-gpu there"));
        }
        let bars: [Option<(u64, u64)>; BARS] = core::array::from_fn(|index| {
            let index = index as u8;
            let bar = gpu
                .bar(index)
                .filter(|bar| bar.space != Space::Io && bar.address != 0)?;
            Some((bar.address, gpu.bar_size(index)))
        });
        let sizes = bars.map(|bar| bar.map_or(0, |(_, size)| size));
        let capabilities =
            Capabilities::read(|offset| gpu.read32(offset), &sizes).map_err(Failure::new)?;
        let window = |region: BarRegion| {
            let (start, size) = bars[usize::from(region.bar)].unwrap();
            assert!(region.fits(size));
            Window {
                bus: self.bus.clone(),
                start: start + u64::from(region.offset),
                length: region.length.into(),
            }
        };
        gpu.clear_master();
        let command = gpu.enable_memory();
        gpu.disable_intx();
        let notify = window(capabilities.notify).start;
        let transport = Pci::new(window(capabilities.window()), &capabilities)
            .with_config(capabilities.config().map(window));
        let result = self.bring_up(
            Box::new(transport),
            notify,
            resource,
            leaves_picture,
            || gpu.set_master(),
        );
        if result.is_err() {
            gpu.restore_command(command);
        }
        result
    }

    /// Takes a virtio-mmio slot over, as `Search::try_mmio()` does.
    fn take_mmio(&mut self, resource: u32, leaves_picture: bool) -> Result<(), Failure> {
        let window = Window {
            bus: self.bus.clone(),
            start: SLOT,
            length: REGISTER_AND_CONFIG_BYTES as u64,
        };
        let transport = Mmio::new(window).map_err(Failure::new)?;
        self.bring_up(Box::new(transport), SLOT, resource, leaves_picture, || ())
    }

    /// Sets the device up, starts the log and uses it, as the driver's bring-up does.
    fn bring_up(
        &mut self,
        mut transport: Box<dyn Transport>,
        notify: u64,
        resource: u32,
        leaves_picture: bool,
        master: impl FnOnce(),
    ) -> Result<(), Failure> {
        let hal = self.block.guest.clone();
        let requested = Requested {
            features: Features::EVENT_IDX | Features::RING_RESET,
            addresses: Addresses::Physical,
            adopts: true,
        };
        let had_queue =
            (transport.status()).intersects(DeviceStatus::FEATURES_OK | DeviceStatus::DRIVER_OK);
        let addresses = |size| {
            master();
            VirtQueue::addresses(&hal, size)
        };
        let negotiated =
            initialise(transport.as_mut(), &hal, requested, addresses).map_err(|error| {
                Failure {
                    keeps_memory: error == SetupError::Reset && had_queue,
                    ..Failure::new(error)
                }
            })?;
        let (bus, queue_notify) = (self.bus.clone(), negotiated.queue_notify);
        hal.set_notify_register(move || bus.notify(notify, queue_notify));
        let Block { shared, text, .. } = &mut self.block;
        let text = match self.setting.apart {
            true => &mut text[GUARD..GUARD + TEXT_WORDS],
            false => &mut [],
        };
        let options = Options {
            scroll: None,
            mode: None,
            addresses: Addresses::Physical,
            adopts: true,
        };
        let font = |_, _| self.fonts[0].font();
        shared.fill(0);
        text.fill(0);
        let memory = Memory { shared, text };
        let log = match Log::start(hal.clone(), &negotiated, options, resource, memory, font) {
            Ok(log) => log,
            Err(error) => {
                return Err(Failure {
                    keeps_memory: reset(transport.as_mut(), &hal).is_err(),
                    ..Failure::new(error)
                })
            }
        };
        let mut running = Running { log, transport };
        let error = running.run(&self.fonts, &self.host, &self.bus, &hal);
        let Running { log, mut transport } = running;
        let (hal, _) = log.end();
        let stop = match leaves_picture {
            true => quiesce(transport.as_mut(), &hal),
            false => reset(transport.as_mut(), &hal),
        };
        match (error, stop) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(why), stop) => Err(Failure {
                why,
                keeps_memory: stop.is_err(),
            }),
            (Ok(()), Err(error)) => Err(Failure {
                keeps_memory: true,
                ..Failure::new(error)
            }),
        }
    }
}

impl<'a> Running<'a> {
    /// Uses the log as the driver's phases do, and checks the picture if there was no error.
    fn run(
        &mut self,
        fonts: &'a [Noise; 2],
        host: &RefCell<Host<Qemu>>,
        bus: &Bus,
        guest: &Guest,
    ) -> Result<(), String> {
        let mut terminal = self.terminal();
        self.write(&mut terminal, 0..LINES[0]);
        let changed = displays_changed(self.transport.as_mut());
        // Where no registers are, all bits are ones: see `Machine::take_over()`.
        let is_outside = bus.invalid_accesses.get() > 0;
        let may_change = bus.has(&[Fault::GenerationNeverSettles, Fault::Disconnected]);
        assert!(!changed || may_change || is_outside);
        self.log.scanouts_changed();
        let mut noise = &fonts[0];
        if let Some(font) = fonts[1].font() {
            match self.log.set_font(font) {
                // Whatever the state of the device.
                Ok(()) | Err(LogError::Display(DisplayError::Gpu(_))) => {
                    (noise, terminal) = (&fonts[1], self.terminal());
                }
                Err(_) => {}
            }
        }
        self.write(&mut terminal, LINES[0]..LINES[0] + LINES[1]);
        self.log.finish();
        let mut error = self.log.take_error();
        if self.log.has_failed() {
            // The device may execute the last commands late.
            (0..REST).for_each(|_| guest.run());
            if self.log.recover() {
                self.log.finish();
                error = self.log.take_error();
            }
        }
        let state = self.transport.status();
        if let Some(error) = error {
            return Err(error.to_string());
        }
        if state != RUNS {
            return Err(format!("its status is {:#04x}", state.bits()));
        }
        for mode in self.log.scanouts() {
            // The modes are in the shared memory as well, if the text is.
            if mode.scanout >= 16 || mode.width > 400 || mode.height > 400 {
                return Err(WRONG.into());
            }
            let expected = noise.picture((mode.width, mode.height), terminal.text());
            if host.borrow().shown(mode.scanout as usize) != expected {
                return Err(WRONG.into());
            }
        }
        Ok(())
    }

    fn terminal(&self) -> Terminal {
        Terminal::new(self.log.grid().cols(), self.log.grid().rows())
    }

    fn write(&mut self, terminal: &mut Terminal, lines: std::ops::Range<usize>) {
        for line in lines {
            let text = format!("line {line} {}\n", "-".repeat(line * 7 % 30));
            self.log.append(text.as_bytes(), ATTRIBUTE, false);
            self.log.show();
            terminal.write(text.as_bytes());
        }
    }
}

/// The status of a device that runs.
const RUNS: DeviceStatus = DeviceStatus::ACKNOWLEDGE
    .union(DeviceStatus::DRIVER)
    .union(DeviceStatus::FEATURES_OK)
    .union(DeviceStatus::DRIVER_OK);

/// The message for a wrong picture of which the driver knows nothing.
const WRONG: &str = "another picture";

/// Runs two takeovers: one with these faults, and one without. Returns why text is missing after
/// the first, if it is.
fn outcome(machine: &mut Machine, setting: Setting, plan: &[Planned]) -> Result<(), String> {
    machine.begin(setting);
    if setting.runs {
        assert_eq!(machine.take_over(true), Ok(()));
    }
    machine.bus.plan(plan);
    let outcome = machine.take_over(false);
    // The device is correct again, in its present state.
    machine.bus.plan(&[]);
    machine.host.borrow_mut().rejections.clear();
    assert_eq!(machine.take_over(false), Ok(()), "the second takeover");
    assert_eq!(machine.host.borrow().rejections, [""; 0]);
    outcome
}

const CORRUPT: &str = "the device's used ring cannot be true";
const STALLED: &str = "the device does not answer";
const REFUSED: &str = "the device answered command";
const STATUS: &str = "its status is";
const DARK: &str = "none of its scanouts is enabled";
const LEGACY: &str = "a legacy device";
const RESET: &str = "the device does not finish a reset";
const QUEUE: &str = "descriptors, too few";
const BAR: &str = "its BAR 4 has no usable address";

/// Returns the messages for a fault, each for one of its moments at least. `true` if the text is
/// shown at other moments, where the fault does no harm or does not apply to this device.
fn expected(fault: Fault) -> (bool, &'static [&'static str]) {
    match fault {
        Fault::UsedIdOdd | Fault::UsedIdPastQueue | Fault::UsedIdTooLarge => (false, &[CORRUPT]),
        Fault::UsedIdOfAnother | Fault::UsedIndexAhead => (false, &[CORRUPT]),
        // With the answers that follow, the used index is where it was some answers before.
        Fault::UsedIndexBack => (false, &[CORRUPT, STALLED]),
        // The last one may have no effect.
        Fault::UsedIdTwice => (true, &[CORRUPT]),
        Fault::UsedLengthZero | Fault::UsedLengthHuge => (true, &[]),
        // Some commands may be rejected.
        Fault::ErrorUnspecified | Fault::ErrorOutOfMemory | Fault::ResponseUnknown => {
            (true, &[REFUSED])
        }
        Fault::ResponseLate | Fault::ResponsesOutOfOrder => (true, &[]),
        Fault::ResponseTooLate => (true, &[STALLED]),
        Fault::ResponseNever | Fault::Silent => (false, &[STALLED]),
        Fault::DisplayOfZero | Fault::DisplayDisabled => (true, &[DARK]),
        Fault::DisplayOf4GPixels => (true, &["is not 1x1 to 16384x16384"]),
        Fault::DisplayOfAllOnes | Fault::Displays17 => (true, &[]),
        Fault::GenerationNeverSettles => (true, &[]),
        Fault::FeaturesChange => (true, &[LEGACY]),
        // A device that runs keeps its features.
        Fault::FeaturesRefused => (false, &["the device refused FEATURES_OK", STATUS]),
        Fault::ResetNever | Fault::ResetFails => (false, &[RESET]),
        Fault::DriverOkDropped | Fault::NeedsReset => (false, &[STALLED]),
        Fault::QueueOf0 | Fault::QueueOf1 | Fault::QueueOf3 => (false, &[QUEUE]),
        Fault::QueueOf48 | Fault::QueueOf65535 => (true, &[]),
        Fault::NotifyOutside => (true, &["the doorbell lies outside"]),
        Fault::CapabilitiesNone => (true, &["no usable common configuration"]),
        Fault::CapabilitiesLoop => (true, &["its list of PCI capabilities never ends"]),
        // A notification among other registers has no effect.
        Fault::CapabilitiesOverlap => (true, &[STALLED]),
        // The device's own configuration is optional.
        Fault::CapabilityPastBar | Fault::CapabilityWraps => (true, &[BAR]),
        Fault::BarOfSize0 | Fault::BarWithoutAddress => (true, &[BAR]),
        Fault::BarFixed => (true, &[]),
        // Commands and answers in the memory may change.
        Fault::DescriptorsOverwritten | Fault::AvailableOverwritten => (true, &[]),
        Fault::CommandsOverwritten => (true, &[REFUSED]),
        Fault::PixelsOverwritten => (true, &[]),
        Fault::UsedOverwritten => (true, &[CORRUPT]),
        Fault::MemoryOverwritten => (true, &[CORRUPT]),
        // At any operation of the driver.
        Fault::Disconnected => (true, &[STALLED, RESET]),
    }
}

/// Returns whether the picture may be wrong without an error, as the shared memory has any content.
fn may_be_wrong(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::DescriptorsOverwritten
            | Fault::AvailableOverwritten
            | Fault::UsedOverwritten
            | Fault::CommandsOverwritten
            | Fault::PixelsOverwritten
            | Fault::MemoryOverwritten
    )
}

/// Returns moments of a fault among `count` commands.
fn moments(count: usize) -> BTreeSet<usize> {
    let moments = [0, 1, 2, 4, count / 2, count - 1];
    moments.into_iter().collect()
}

/// Tests a device with one fault at a time, at several moments.
fn each_alone(faults: &[Fault]) {
    let mut machine = Machine::new();
    let counts = SETTINGS.map(|setting| {
        machine.begin(setting);
        if setting.runs {
            assert_eq!(machine.take_over(true), Ok(()));
        }
        machine.bus.plan(&[]);
        assert_eq!(machine.take_over(false), Ok(()));
        (machine.bus.commands(), machine.bus.accesses() as usize)
    });
    let mut wrong = Vec::new();
    for &fault in faults {
        let (shows, reasons) = expected(fault);
        let mut said = BTreeSet::new();
        for (setting, (commands, accesses)) in SETTINGS.into_iter().zip(counts) {
            let moments = match fault {
                Fault::Disconnected => (0..accesses).collect(),
                _ => moments(commands),
            };
            for at in moments {
                let outcome = outcome(&mut machine, setting, &[Planned { fault, at }]);
                let is_expected = match &outcome {
                    Ok(()) => shows,
                    Err(why) if why == WRONG => may_be_wrong(fault),
                    Err(why) => {
                        let is_any = may_be_wrong(fault) || fault == Fault::Disconnected;
                        is_any || reasons.iter().any(|reason| why.contains(reason))
                    }
                };
                if !is_expected {
                    wrong.push(format!("{fault:?} at {at} of {setting:?}: {outcome:?}"));
                }
                said.extend(outcome.err());
            }
        }
        for reason in reasons {
            if !said.iter().any(|why| why.contains(reason)) {
                wrong.push(format!("{fault:?}: {reason} is not among {said:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_device_without_faults_shows_the_text() {
    let mut machine = Machine::new();
    for setting in SETTINGS {
        assert_eq!(outcome(&mut machine, setting, &[]), Ok(()));
        assert!(!machine.bus.model.borrow().fault.get());
    }
}

// Two halves, which run in parallel.
#[test]
fn a_device_with_one_fault() {
    let half = Fault::ALL.len() / 2;
    each_alone(&Fault::ALL[..half]);
}

#[test]
fn a_device_with_one_other_fault() {
    let half = Fault::ALL.len() / 2;
    each_alone(&Fault::ALL[half..]);
}

#[test]
fn a_capability_past_a_bar_that_seems_larger() {
    let fault = |fault, at| Planned { fault, at };
    for setting in SETTINGS {
        for at in 0..18 {
            let plan = [
                fault(Fault::CapabilityPastBar, at),
                fault(Fault::BarFixed, 0),
            ];
            // The driver cannot know that no registers are there.
            let _ = outcome(&mut Machine::new(), setting, &plan);
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_device_with_several_faults(
        setting in prop::sample::select(SETTINGS.to_vec()),
        plan in prop::collection::vec((prop::sample::select(Fault::ALL), 0..60usize), 1..5),
    ) {
        let plan: Vec<_> = plan
            .into_iter()
            .map(|(fault, at)| Planned { fault, at })
            .collect();
        // The reason for missing text is checked by the tests with one fault.
        let _ = outcome(&mut Machine::new(), setting, &plan);
    }
}
