// SPDX-License-Identifier: GPL-2.0

//! A device that the driver core has bound to us: its registers, mapped, and a log on it.

use kernel::alloc::{
    flags::GFP_KERNEL,
    VVec, //
};

use crate::{
    device::bring_up::{
        self,
        Refusal,
        MEMORY_BYTES, //
    },
    gpu::GpuError,
    linux::{
        atomic_option::AtomicOption,
        bell::Bell,
        coherent::Coherent,
        mapped::Mapped,
        parameters,
        pci_device::{
            Enabled,
            PciDevice,
            PciError, //
        },
        registers::Window,
        shared::{
            Block,
            Shared, //
        }, //
    },
    scanout::log::{
        self,
        Log,
        Memory,
        Wish, //
    },
    virtio::{
        pci::{
            Capabilities,
            Pci,
            Place, //
        },
        ring::RING_BYTES,
        setup::{
            self,
            Addresses,
            Agreement,
            SetupError, //
        },
        Doorbell,
        Transport, //
    }, //
};

#[cfg(not(MODULE))]
use crate::{
    device::screen::MEMORY,
    gpu::config,
    linux::{
        early::memory_is_private,
        owner::must_not_sleep, //
    },
    virtio::{
        mmio::{
            self,
            Mmio, //
        },
        Status, //
    }, //
};

/// All that was taken of a device. It is given back in this order: the device reaches no memory any
/// more when that goes.
pub(crate) struct Held {
    transport: Bus,
    doorbells: Doorbells,
    /// The doorbell's mapping. The bell may hang by it while there is a log: whatever ends that
    /// takes the bell down ([`Held::stop`], [`Held::try_reset`], [`bring_up::light`] where it fails),
    /// and both the mapping goes, and another one takes its place, when there is no log.
    doorbell: Option<(Mapped, Doorbell)>,
    _registers: Mapped,
    _config: Option<Mapped>,
    enabled: Option<Enabled>,
    memory: Option<(Coherent, VVec<u32>)>,
    /// Whether we have driven it: what runs there is ours.
    was_ours: bool,
}

/// How a device is stopped: [`Held::reset`] or [`Held::quiesce`].
pub(crate) type Stop = fn(&mut Held, &'static Bell, Log<'static, Shared>) -> Option<GpuError>;

/// The same, when its log is gone: [`setup::reset`] or [`setup::quiesce`].
type Way = fn(&mut dyn Transport, &Shared) -> Result<(), SetupError>;

/// What can become of a device that was set up.
#[cfg(not(MODULE))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It runs.
    Runs,
    /// Somebody has reset it, or it wants to be reset.
    Reset,
    /// It is not there any more: its registers read as ones.
    Gone,
}

/// How its registers are reached.
enum Bus {
    Pci(Pci<Window<'static>>),
    #[cfg(not(MODULE))]
    Mmio(Mmio<Window<'static>>),
}

impl Bus {
    fn transport(&mut self) -> &mut dyn Transport {
        match self {
            Self::Pci(pci) => pci,
            #[cfg(not(MODULE))]
            Self::Mmio(mmio) => mmio,
        }
    }
}

/// Where its doorbells are.
#[derive(Clone, Copy)]
enum Doorbells {
    Bar(PciDevice, Place),
    #[cfg(not(MODULE))]
    Memory(u64),
}

impl Doorbells {
    /// Keeps the device from memory. A device in a process of its own stops by this, see
    /// [`Function::end_mastering`](crate::pci::Function::end_mastering).
    fn clear_master(self) {
        match self {
            Self::Bar(device, _) => device.clear_master(),
            #[cfg(not(MODULE))]
            Self::Memory(_) => {}
        }
    }

    /// Lets the device reach memory.
    fn set_master(self) {
        match self {
            Self::Bar(device, _) => device.set_master(),
            #[cfg(not(MODULE))]
            Self::Memory(_) => {}
        }
    }

    /// Maps one.
    fn map(self, doorbell: Doorbell) -> Result<Mapped, Refusal> {
        match self {
            Self::Bar(device, notify) => {
                let offset = u32::try_from(doorbell.offset)
                    .ok()
                    .and_then(|offset| offset.checked_add(notify.offset))
                    .ok_or(Refusal::Bar(notify.bar))?;
                let place = Place {
                    offset,
                    length: 2,
                    ..notify
                };
                map(device, &place)
            }
            #[cfg(not(MODULE))]
            Self::Memory(base) => {
                let at = base + doorbell.offset as u64;
                Mapped::memory(at, 4).ok_or(Refusal::Map(at))
            }
        }
    }
}

impl Held {
    /// Takes a PCI function.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be used; it is as it was.
    pub(crate) fn pci(device: PciDevice) -> Result<Self, Refusal> {
        let sizes =
            core::array::from_fn(|bar| device.memory_bar(bar as u8).map_or(0, |(_, size)| size));
        let capabilities = Capabilities::read(|offset| device.read32(offset), &sizes)
            .map_err(Refusal::Capabilities)?;
        let bars = 1 << capabilities.common.bar | 1 << capabilities.notify.bar;
        let enabled = Enabled::new(device, bars).map_err(Refusal::Pci)?;
        let common = map(device, &capabilities.window())?;
        let config = capabilities.config();
        let config = config.and_then(|place| Mapped::bar(device, &place));
        // SAFETY: The windows are in `transport` alone. `Held` drops that before the mappings, as
        // it is declared before them, and nothing gives it away.
        let (window, own) = unsafe { (common.window(), config.as_ref().map(|it| it.window())) };
        Ok(Self {
            transport: Bus::Pci(Pci::new(window, &capabilities).with_config(own)),
            doorbells: Doorbells::Bar(device, capabilities.notify),
            doorbell: None,
            _registers: common,
            _config: config,
            enabled: Some(enabled),
            memory: None,
            was_ours: false,
        })
    }

    /// Takes the virtio-mmio slot at a physical address.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be used.
    #[cfg(not(MODULE))]
    pub(crate) fn mmio(base: u64) -> Result<Self, Refusal> {
        // Registers are words of 32 bits.
        let registers = Some(base)
            .filter(|base| base % 4 == 0)
            .and_then(|base| Mapped::memory(base, mmio::WINDOW_WITH_CONFIG))
            .ok_or(Refusal::Map(base))?;
        // SAFETY: As in `pci()`; should `Mmio::new()` fail, it has dropped the window.
        let window = unsafe { registers.window() };
        Ok(Self {
            transport: Bus::Mmio(Mmio::new(window).map_err(Refusal::Mmio)?),
            doorbells: Doorbells::Memory(base),
            doorbell: None,
            _registers: registers,
            _config: None,
            enabled: None,
            memory: None,
            was_ours: false,
        })
    }

    /// Hangs up the doorbell of a device that is running. The PCI core learns that it masters the
    /// bus.
    ///
    /// # Errors
    ///
    /// It cannot be mapped.
    #[cfg(not(MODULE))]
    pub(crate) fn hang(&mut self, bell: &Bell, doorbell: Doorbell) -> Result<(), Refusal> {
        let mapped = self.doorbells.map(doorbell)?;
        bell.take_down();
        // SAFETY: The mapping is in `doorbell` from the next line on, and goes with it: see there.
        bell.hang(unsafe { mapped.window() }, doorbell);
        self.doorbell = Some((mapped, doorbell));
        self.doorbells.set_master();
        self.was_ours = true;
        Ok(())
    }

    /// Lets another driver have the device, while its registers stay mapped. What is returned is
    /// given back when it is dropped.
    #[cfg(not(MODULE))]
    pub(crate) fn release(&mut self) -> Option<Enabled> {
        self.enabled.take()
    }

    /// Whether it can be set up after that: not in memory that the DMA API takes back.
    #[cfg(not(MODULE))]
    pub(crate) fn can_be_lent(&self) -> bool {
        self.memory.is_none()
    }

    /// Sets the device up and starts the log on it, in memory of the image that it finds at a
    /// physical address, or in memory of the DMA API where that does not do.
    ///
    /// # Errors
    ///
    /// As [`bring_up::light`], and of the DMA API.
    #[cfg(not(MODULE))]
    pub(crate) fn light(
        &mut self,
        bell: &'static Bell,
        to: &mut AtomicOption<Log<'static, Shared>>,
    ) -> Result<(), Refusal> {
        if self.memory.is_none() {
            let result = if memory_is_private() {
                Err(Refusal::Private)
            } else if let Some(memory) = MEMORY.take() {
                self.start(memory, &mut [], bell, Addresses::Physical, to)
            } else {
                Err(Refusal::Memory)
            };
            match result {
                Err(
                    Refusal::Setup(SetupError::AccessPlatform) | Refusal::Memory | Refusal::Private,
                ) if self.has_dma() => {}
                result => return result,
            }
        }
        self.light_mapped(bell, to)
    }

    /// Whether there is a DMA API for the device, and one may sleep to allocate.
    #[cfg(not(MODULE))]
    fn has_dma(&self) -> bool {
        matches!(self.doorbells, Doorbells::Bar(..)) && !must_not_sleep()
    }

    /// Whether something has happened to the device's displays since this was asked last.
    #[cfg(not(MODULE))]
    pub(crate) fn displays_changed(&mut self) -> bool {
        config::displays_changed(self.transport.transport())
    }

    /// What has become of the device, which we drive.
    #[cfg(not(MODULE))]
    pub(crate) fn state(&mut self) -> State {
        let status = self.transport.transport().status();
        if status.is_gone() {
            State::Gone
        } else if status.contains(Status::DRIVER_OK) && !status.contains(Status::DEVICE_NEEDS_RESET)
        {
            State::Runs
        } else {
            State::Reset
        }
    }

    /// As [`Held::light`], on the device that is quiet by [`Held::quiesce`]: what it shows stays
    /// until there is text.
    ///
    /// # Errors
    ///
    /// As [`bring_up::light`].
    #[cfg(not(MODULE))]
    pub(crate) fn light_again(
        &mut self,
        bell: &'static Bell,
        to: &mut AtomicOption<Log<'static, Shared>>,
    ) -> Result<(), Refusal> {
        self.was_ours = false;
        self.light(bell, to)
    }

    /// Sets the device up and starts the log on it, in memory of the DMA API.
    ///
    /// # Errors
    ///
    /// As [`bring_up::light`], and of the DMA API.
    #[inline(never)]
    pub(crate) fn light_mapped(
        &mut self,
        bell: &'static Bell,
        to: &mut AtomicOption<Log<'static, Shared>>,
    ) -> Result<(), Refusal> {
        let device = match self.doorbells {
            Doorbells::Bar(device, _) => device,
            #[cfg(not(MODULE))]
            Doorbells::Memory(_) => {
                return Err(Refusal::Setup(setup::SetupError::AccessPlatform));
            }
        };
        let (coherent, text) = match &mut self.memory {
            Some(memory) => memory,
            none => none.insert((
                Coherent::new(device, MEMORY_BYTES).map_err(Refusal::Pci)?,
                private(log::TEXT).map_err(Refusal::Pci)?,
            )),
        };
        let memory = coherent.take().ok_or(Refusal::Memory)?;
        let addresses = match coherent.is_behind_iommu() {
            true => Addresses::Iommu,
            false => Addresses::Platform,
        };
        text.fill(0);
        // SAFETY: The words are initialised, and stay where they are until `self.memory` is
        // dropped: nobody resizes the vector, and whoever drops `Held` has ended the log that has
        // them, as it has ended those before: `coherent` was lent once more, so that its memory was
        // given back, which is done when the log is gone. The vector itself is not accessed before
        // the next time.
        let text = unsafe { core::slice::from_raw_parts_mut(text.as_mut_ptr(), text.len()) };
        self.start(memory, text, bell, addresses, to)
    }

    fn start(
        &mut self,
        memory: Block,
        text: &'static mut [u32],
        bell: &'static Bell,
        addresses: Addresses,
        to: &mut AtomicOption<Log<'static, Shared>>,
    ) -> Result<(), Refusal> {
        let (hal, shared) = Shared::new(memory, RING_BYTES, bell);
        let (doorbells, mapping) = (self.doorbells, &mut self.doorbell);
        let wish = Wish {
            scroll: bring_up::scroll(parameters::scroll()),
            mode: None,
            addresses,
            adopts: !core::mem::replace(&mut self.was_ours, true),
        };
        if wish.adopts {
            doorbells.clear_master();
        }
        let transport = self.transport.transport();
        let hang = |agreement: &Agreement| {
            let mapped = match mapping.take() {
                Some((mapped, doorbell)) if doorbell == agreement.doorbell => mapped,
                // To map, and to unmap, is to sleep.
                #[cfg(not(MODULE))]
                other if must_not_sleep() => {
                    *mapping = other;
                    return Err(Refusal::Map(agreement.doorbell.offset as u64));
                }
                _ => doorbells.map(agreement.doorbell)?,
            };
            // SAFETY: The mapping is in `doorbell` from the next line on, and goes with it: see
            // there.
            bell.hang(unsafe { mapped.window() }, agreement.doorbell);
            *mapping = Some((mapped, agreement.doorbell));
            Ok(())
        };
        let memory = Memory { shared, text };
        bring_up::light(
            transport,
            hal,
            memory,
            wish,
            || doorbells.set_master(),
            hang,
            to,
        )
    }

    /// Resets the device, if it can be given to another driver then: Linux' virtio-pci waits for
    /// the reset without an end. Returns whether it can; the log goes on otherwise.
    #[cfg(not(MODULE))]
    pub(crate) fn try_reset(
        &mut self,
        bell: &'static Bell,
        log: &mut AtomicOption<Log<'static, Shared>>,
    ) -> bool {
        #[cfg(CONFIG_VIRTGPU_BRIDGE_DYING)]
        if crate::dying::refuses_reset() {
            return false;
        }
        let Some(hal) = log.as_mut().map(Log::finish) else {
            return true;
        };
        if setup::reset(self.transport.transport(), &hal).is_err() {
            return false;
        }
        log.clear();
        bell.take_down();
        // SAFETY: `setup::reset()` has seen the device at status 0 (virtio 1.3, section 2.1.2): it
        // has no queue any more. `log.clear()` has dropped the log and all that was made of the
        // block; `hal` is the last copy.
        unsafe { hal.give_back() };
        true
    }

    /// Stops the device, and ends its log, which may have trouble to tell.
    pub(crate) fn reset(
        &mut self,
        bell: &'static Bell,
        log: Log<'static, Shared>,
    ) -> Option<GpuError> {
        self.end(|transport, hal| setup::reset(transport, hal), bell, log)
    }

    /// The same, with the device's picture left to whoever comes next, if that can be.
    pub(crate) fn quiesce(
        &mut self,
        bell: &'static Bell,
        log: Log<'static, Shared>,
    ) -> Option<GpuError> {
        self.end(|transport, hal| setup::quiesce(transport, hal), bell, log)
    }

    fn end(
        &mut self,
        how: Way,
        bell: &'static Bell,
        log: Log<'static, Shared>,
    ) -> Option<GpuError> {
        let (hal, trouble) = log.end();
        self.stop(how, bell, hal);
        trouble
    }

    /// The same, when the log was left in the middle of something: nothing is waited for but the
    /// reset.
    #[cfg(not(MODULE))]
    pub(crate) fn abandon(&mut self, bell: &'static Bell, log: Log<'static, Shared>) {
        self.stop(
            |transport, hal| setup::reset(transport, hal),
            bell,
            log.abandon(),
        );
    }

    /// Stops the device, whose log is gone. Its memory comes back, unless it does not even do that.
    fn stop(&mut self, how: Way, bell: &'static Bell, hal: Shared) {
        bell.take_down();
        #[allow(unused_mut)]
        let mut is_stopped = how(self.transport.transport(), &hal).is_ok();
        #[cfg(all(CONFIG_VIRTGPU_BRIDGE_DYING, not(MODULE)))]
        {
            is_stopped &= !crate::dying::refuses_reset();
        }
        if is_stopped {
            // SAFETY: The device works on no queue any more: `setup::reset()` has seen it at status
            // 0, or `setup::quiesce()` has seen all of its queues reset. The log is gone: `end()`
            // and `abandon()`, the callers, have consumed it to get `hal`, which is the last copy.
            unsafe { hal.give_back() };
        }
    }
}

/// Memory of so many words that no device sees.
fn private(words: usize) -> Result<VVec<u32>, PciError> {
    let mut memory = VVec::new();
    match memory.resize(words, 0, GFP_KERNEL) {
        Ok(()) => Ok(memory),
        Err(error) => Err(PciError::new("there is no memory for it", error.into())),
    }
}

/// Maps a piece of a device's BARs.
fn map(device: PciDevice, piece: &Place) -> Result<Mapped, Refusal> {
    let (start, _) = device
        .memory_bar(piece.bar)
        .filter(|(_, size)| piece.fits(*size))
        .ok_or(Refusal::Bar(piece.bar))?;
    Mapped::bar(device, piece).ok_or(Refusal::Map(start + u64::from(piece.offset)))
}
