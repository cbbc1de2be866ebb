// SPDX-License-Identifier: GPL-2.0

//! A device that the driver core has bound to us: its registers, mapped, and a log on it.

use crate::{
    linux::{
        bell::Bell,
        coherent::Coherent,
        mapped::Mapped,
        parameters,
        pci_device::{
            Enabled,
            PciDevice, //
        },
        registers::Window,
        shared::{
            Block,
            Shared, //
        },
    },
    stages::{
        log::Log,
        start::{
            self,
            Refusal,
            Wish,
            MEMORY_BYTES, //
        },
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
            Agreement, //
        },
        Doorbell,
        Features,
        Hal,
        Transport, //
    },
};

#[cfg(not(MODULE))]
use crate::{
    gpu::config,
    virtio::{
        mmio::{
            self,
            Mmio, //
        },
        Status, //
    },
};

/// All that was taken of a device. It is given back in this order.
pub(crate) struct Held {
    transport: Bus,
    doorbells: Doorbells,
    doorbell: Option<(Mapped, Doorbell)>,
    _registers: Mapped,
    _config: Option<Mapped>,
    enabled: Option<Enabled>,
    memory: Option<Coherent>,
    /// Whether we have driven it: what runs there is ours.
    was_ours: bool,
}

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
        // SAFETY: The transport goes, with `Held`, before the mappings.
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
        let registers = Mapped::memory(base, mmio::WINDOW_WITH_CONFIG).ok_or(Refusal::Map(base))?;
        // SAFETY: The transport goes, with `Held`, before the mapping.
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

    /// Hangs up the doorbell of a device that is running.
    ///
    /// # Errors
    ///
    /// It cannot be mapped.
    #[cfg(not(MODULE))]
    pub(crate) fn hang(&mut self, bell: &Bell, doorbell: Doorbell) -> Result<(), Refusal> {
        let mapped = self.doorbells.map(doorbell)?;
        bell.take_down();
        // SAFETY: `reset()` takes the bell down before the mapping goes.
        bell.hang(unsafe { mapped.window() }, doorbell);
        self.doorbell = Some((mapped, doorbell));
        self.was_ours = true;
        Ok(())
    }

    /// Lets another driver have the device, while its registers stay mapped. What is returned is given
    /// back when it is dropped.
    #[cfg(not(MODULE))]
    pub(crate) fn release(&mut self) -> Option<Enabled> {
        self.enabled.take()
    }

    /// Lets a dying kernel's device reach memory, whatever the other driver has done.
    #[cfg(not(MODULE))]
    pub(crate) fn set_master(&self) {
        if let Doorbells::Bar(device, _) = self.doorbells {
            device.set_master_if_possible();
        }
    }

    /// Whether it can be set up after that: not in memory that the DMA API takes back.
    #[cfg(not(MODULE))]
    pub(crate) fn can_be_lent(&self) -> bool {
        self.memory.is_none()
    }

    /// Sets the device up and starts the log on it, in `memory` that it finds at a physical address.
    ///
    /// # Errors
    ///
    /// As [`start::light`].
    #[cfg(not(MODULE))]
    pub(crate) fn light(
        &mut self,
        memory: Block,
        bell: &'static Bell,
    ) -> Result<Log<'static, Shared>, Refusal> {
        use crate::virtio::setup::SetupError;

        if self.memory.is_none() {
            match self.start(memory, bell, false) {
                Err(Refusal::Setup(SetupError::AccessPlatform)) => {}
                result => return result,
            }
        }
        self.light_mapped(bell)
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
        if status.bits() == u8::MAX {
            State::Gone
        } else if status.contains(Status::DRIVER_OK) && !status.contains(Status::DEVICE_NEEDS_RESET)
        {
            State::Runs
        } else {
            State::Reset
        }
    }

    /// As [`Held::light`], on the device that is quiet by [`Held::quiesce`]: what it shows stays until there
    /// is text.
    ///
    /// # Errors
    ///
    /// As [`start::light`].
    #[cfg(not(MODULE))]
    pub(crate) fn light_again(
        &mut self,
        memory: Block,
        bell: &'static Bell,
    ) -> Result<Log<'static, Shared>, Refusal> {
        self.was_ours = false;
        self.light(memory, bell)
    }

    /// Sets the device up and starts the log on it, in memory of the DMA API.
    ///
    /// # Errors
    ///
    /// As [`start::light`], and of the DMA API.
    pub(crate) fn light_mapped(
        &mut self,
        bell: &'static Bell,
    ) -> Result<Log<'static, Shared>, Refusal> {
        let device = match self.doorbells {
            Doorbells::Bar(device, _) => device,
            #[cfg(not(MODULE))]
            Doorbells::Memory(_) => {
                return Err(Refusal::Setup(setup::SetupError::AccessPlatform));
            }
        };
        let coherent = match self.memory.take() {
            Some(memory) => memory,
            None => Coherent::new(device, MEMORY_BYTES).map_err(Refusal::Pci)?,
        };
        // SAFETY: A device does not work on the memory any more when `start()` has failed, nor after
        // `reset()`, and the log is gone by then.
        let memory = unsafe { coherent.take() };
        self.memory = Some(coherent);
        self.start(memory, bell, true)
    }

    fn start(
        &mut self,
        memory: Block,
        bell: &'static Bell,
        platform_dma: bool,
    ) -> Result<Log<'static, Shared>, Refusal> {
        let (hal, rest) = Shared::new(memory, RING_BYTES, bell);
        let (doorbells, mapping) = (self.doorbells, &mut self.doorbell);
        let behind_iommu = self.memory.as_ref().is_some_and(Coherent::is_behind_iommu);
        let wish = Wish {
            scroll: start::scroll(parameters::scroll()),
            mode: None,
        };
        let adopts = !core::mem::replace(&mut self.was_ours, true);
        let transport = self.transport.transport();
        let hang = |agreement: &Agreement| {
            if behind_iommu && !agreement.features.contains(Features::ACCESS_PLATFORM) {
                return Err(Refusal::RoundIommu);
            }
            // A mapping that is there is good, and a dying kernel can make no other.
            let mapped = match mapping.take() {
                Some((mapped, doorbell)) if doorbell == agreement.doorbell => mapped,
                _ => doorbells.map(agreement.doorbell)?,
            };
            // SAFETY: `reset()` takes the bell down before the mapping goes.
            bell.hang(unsafe { mapped.window() }, agreement.doorbell);
            *mapping = Some((mapped, agreement.doorbell));
            Ok(())
        };
        start::light(transport, hal, rest, platform_dma, adopts, wish, hang)
    }

    /// Resets the device. Returns whether it has finished the reset, and so can be given to another
    /// driver: Linux' virtio-pci waits for that without an end.
    #[cfg(not(MODULE))]
    pub(crate) fn try_reset(&mut self, hal: &impl Hal) -> bool {
        #[cfg(CONFIG_VIRTGPU_BRIDGE_DYING)]
        if crate::dying::refuses_reset() {
            return false;
        }
        setup::reset(self.transport.transport(), hal).is_ok()
    }

    /// Stops the device, whose log is gone.
    pub(crate) fn reset(&mut self, bell: &'static Bell, hal: &impl Hal) {
        bell.take_down();
        // One that does not even do that loses the bus next.
        let _ = setup::reset(self.transport.transport(), hal);
    }

    /// The same, with its picture left to whoever comes next, if that can be.
    #[cfg(not(MODULE))]
    pub(crate) fn quiesce(&mut self, bell: &'static Bell, hal: &impl Hal) {
        bell.take_down();
        // As above.
        let _ = setup::quiesce(self.transport.transport(), hal);
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
