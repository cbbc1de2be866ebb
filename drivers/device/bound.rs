// SPDX-License-Identifier: GPL-2.0

//! A device that the driver core has bound to the driver: its mapped registers and its memory.

use kernel::alloc::{
    flags::GFP_KERNEL,
    VVec, //
};

use crate::{
    device::bring_up::{
        self,
        BringUpError,
        MEMORY_BYTES,
        NOTIFY, //
    },
    gpu::{
        config,
        GpuError, //
    },
    linux::{
        atomic_option::AtomicOption,
        dma_memory::DmaMemory,
        io_mapping::IoMapping,
        parameters,
        pci_device::{
            Enabled,
            PciDevice,
            PciError, //
        },
        queue_memory::{
            QueueMemory,
            SharedBlock, //
        },
        registers::Window, //
    },
    scanout::{
        display::{
            DisplayError,
            RetainedScanouts, //
        },
        log::{
            self,
            Log,
            LogError,
            Memory,
            Options, //
        }, //
    },
    virtio::{
        adoption::InitialState,
        pci::{
            BarRegion,
            Capabilities,
            Pci, //
        },
        queue::QUEUE_BYTES,
        setup::{
            self,
            Addresses,
            Negotiated,
            SetupError, //
        },
        DeviceStatus,
        QueueNotify,
        Transport, //
    }, //
};

#[cfg(not(MODULE))]
use crate::{
    device::bring_up::MEMORY,
    linux::{
        arch::memory_is_private,
        owner::must_not_sleep, //
    },
    virtio::mmio::{
        self,
        Mmio, //
    }, //
};

/// The largest number of times that a device which timed out or was reset is brought up again
/// without a request. Each time may end in another timeout, with the console lock held.
const MAX_RECOVERIES: usize = 8;

/// The resources of a bound device. The fields are dropped in this order, so that the device does
/// not access the memory any more when that is freed.
pub(crate) struct BoundDevice {
    transport: BoundTransport,
    notify_region: NotifyRegion,
    /// The mapping of the notify register. [`NOTIFY`] may use it while there is a log.
    /// Every function that ends the log clears the register ([`BoundDevice::stop`],
    /// [`BoundDevice::try_reset`], [`bring_up::bring_up`] if it fails). The mapping is dropped or
    /// replaced only after that.
    notify: Option<(IoMapping, QueueNotify)>,
    _registers: IoMapping,
    _config: Option<IoMapping>,
    enabled: Option<Enabled>,
    memory: Option<(DmaMemory, VVec<u32>)>,
    /// Set if this driver has brought the device up before, so its state is not an earlier
    /// driver's.
    was_ours: bool,
    /// The number of times that the device was recovered.
    recoveries: usize,
    /// Set if the device could not be brought up the last time: a change of its displays may help.
    is_lost: bool,
}

/// A function that stops a device and ends its log: [`BoundDevice::reset`] or
/// [`BoundDevice::quiesce`].
pub(crate) type Stop = fn(&mut BoundDevice, Log<'static, QueueMemory>) -> Option<GpuError>;

/// A function that stops a device whose log has ended: [`setup::reset`] or [`setup::quiesce`].
type StopTransport = fn(&mut dyn Transport, &QueueMemory) -> Result<(), SetupError>;

/// The displays of a device, as [`BoundDevice::poll_displays`] finds them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Displays {
    /// They have not changed.
    Unchanged,
    /// They have changed, but the log needs no other screen.
    Same,
    /// The log has to be started anew for them.
    Differ,
}

/// The state of a device that was brought up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// The device runs.
    Running,
    /// The device was reset by something else, or needs a reset (DEVICE_NEEDS_RESET).
    Reset,
    /// The device is gone: its registers read as ones.
    Gone,
}

/// The transport of a bound device.
enum BoundTransport {
    Pci(Pci<Window<'static>>),
    #[cfg(not(MODULE))]
    Mmio(Mmio<Window<'static>>),
}

impl BoundTransport {
    /// Returns the transport.
    fn transport(&mut self) -> &mut dyn Transport {
        match self {
            Self::Pci(pci) => pci,
            #[cfg(not(MODULE))]
            Self::Mmio(mmio) => mmio,
        }
    }
}

/// The location of the notify registers.
#[derive(Clone, Copy)]
enum NotifyRegion {
    /// A region of a BAR.
    Bar(PciDevice, BarRegion),
    /// The registers of a virtio-mmio slot, at this physical address.
    #[cfg(not(MODULE))]
    Memory(u64),
}

impl NotifyRegion {
    /// Keeps the device from accessing memory. This stops a device that runs in a process of its
    /// own; see [`Function::clear_master`](crate::pci::Function::clear_master).
    fn clear_master(self) {
        match self {
            Self::Bar(device, _) => device.clear_master(),
            #[cfg(not(MODULE))]
            Self::Memory(_) => {}
        }
    }

    /// Lets the device access memory.
    fn set_master(self) {
        match self {
            Self::Bar(device, _) => device.set_master(),
            #[cfg(not(MODULE))]
            Self::Memory(_) => {}
        }
    }

    /// Maps the register of `notify`.
    ///
    /// # Errors
    ///
    /// [`BringUpError::Bar`] if it is beyond the BAR, [`BringUpError::Map`] if it cannot be mapped.
    fn map(self, notify: QueueNotify) -> Result<IoMapping, BringUpError> {
        match self {
            Self::Bar(device, all) => {
                let offset = u32::try_from(notify.offset)
                    .ok()
                    .and_then(|offset| offset.checked_add(all.offset))
                    .ok_or(BringUpError::Bar(all.bar))?;
                let region = BarRegion {
                    offset,
                    length: 2,
                    ..all
                };
                map(device, &region)
            }
            #[cfg(not(MODULE))]
            Self::Memory(base) => {
                let at = base + notify.offset as u64;
                IoMapping::memory(at, 4).ok_or(BringUpError::Map(at))
            }
        }
    }
}

impl BoundDevice {
    /// Enables a PCI function and maps its registers.
    ///
    /// # Errors
    ///
    /// Fails if the function cannot be used, and leaves it as it was before.
    pub(crate) fn pci(device: PciDevice) -> Result<Self, BringUpError> {
        let sizes =
            core::array::from_fn(|bar| device.memory_bar(bar as u8).map_or(0, |(_, size)| size));
        let capabilities = Capabilities::read(|offset| device.read32(offset), &sizes)
            .map_err(BringUpError::Capabilities)?;
        let bars = 1 << capabilities.common.bar | 1 << capabilities.notify.bar;
        let enabled = Enabled::new(device, bars).map_err(BringUpError::Pci)?;
        let common = map(device, &capabilities.window())?;
        let config = capabilities.config();
        let config = config.and_then(|place| IoMapping::bar(device, &place));
        // SAFETY: The windows are in `transport` alone. `BoundDevice` drops it before the mappings,
        // since it is declared before them, and nothing moves it out.
        let (window, config_window) =
            unsafe { (common.window(), config.as_ref().map(|it| it.window())) };
        Ok(Self {
            transport: BoundTransport::Pci(
                Pci::new(window, &capabilities).with_config(config_window),
            ),
            notify_region: NotifyRegion::Bar(device, capabilities.notify),
            notify: None,
            _registers: common,
            _config: config,
            enabled: Some(enabled),
            memory: None,
            was_ours: false,
            recoveries: 0,
            is_lost: false,
        })
    }

    /// Maps the registers of the virtio-mmio slot at a physical address.
    ///
    /// # Errors
    ///
    /// Fails if the slot cannot be used.
    #[cfg(not(MODULE))]
    pub(crate) fn mmio(base: u64) -> Result<Self, BringUpError> {
        // Registers are words of 32 bits.
        let registers = Some(base)
            .filter(|base| base % 4 == 0)
            .and_then(|base| IoMapping::memory(base, mmio::REGISTER_AND_CONFIG_BYTES))
            .ok_or(BringUpError::Map(base))?;
        // SAFETY: As in `pci()`; should `Mmio::new()` fail, it has dropped the window.
        let window = unsafe { registers.window() };
        Ok(Self {
            transport: BoundTransport::Mmio(Mmio::new(window).map_err(BringUpError::Mmio)?),
            notify_region: NotifyRegion::Memory(base),
            notify: None,
            _registers: registers,
            _config: None,
            enabled: None,
            memory: None,
            was_ours: false,
            recoveries: 0,
            is_lost: false,
        })
    }

    /// Maps the notify register of a running device for [`NOTIFY`], and tells the PCI core that the
    /// device is a bus master.
    ///
    /// # Errors
    ///
    /// Fails if the register cannot be mapped.
    #[cfg(not(MODULE))]
    pub(crate) fn set_notify(&mut self, notify: QueueNotify) -> Result<(), BringUpError> {
        let mapping = self.notify_region.map(notify)?;
        NOTIFY.clear();
        // SAFETY: The field `notify` has the mapping from the next line on, and says why no window
        // is used after it.
        NOTIFY.set(unsafe { mapping.window() }, notify);
        self.notify = Some((mapping, notify));
        self.notify_region.set_master();
        self.was_ours = true;
        Ok(())
    }

    /// Removes and returns the PCI core's part of the resources. When that is dropped, another
    /// driver can take the device. The registers stay mapped.
    #[cfg(not(MODULE))]
    pub(crate) fn take_enabled(&mut self) -> Option<Enabled> {
        self.enabled.take()
    }

    /// Returns whether a panic can bring the device up after [`BoundDevice::take_enabled`]: not
    /// with memory of the DMA API.
    #[cfg(not(MODULE))]
    pub(crate) fn works_in_panic(&self) -> bool {
        self.memory.is_none()
    }

    /// Brings the device up in memory of the kernel image, by physical addresses; or in memory of
    /// the DMA API if that does not work.
    ///
    /// # Errors
    ///
    /// Fails as [`bring_up::bring_up`] does, and with errors of the DMA API.
    #[cfg(not(MODULE))]
    fn bring_up_anywhere(
        &mut self,
        to: &mut AtomicOption<Log<'static, QueueMemory>>,
    ) -> Result<(), BringUpError> {
        if self.memory.is_none() {
            let result = if memory_is_private() {
                Err(BringUpError::Private)
            } else if let Some(memory) = MEMORY.take() {
                self.start(memory, &mut [], Addresses::Physical, to)
            } else {
                Err(BringUpError::Memory)
            };
            match result {
                Err(
                    BringUpError::Setup(SetupError::AccessPlatform)
                    | BringUpError::Memory
                    | BringUpError::Private,
                ) if self.has_dma() => {}
                result => return result,
            }
        }
        self.bring_up_dma(to)
    }

    /// Returns whether memory of the DMA API can be allocated for the device.
    #[cfg(not(MODULE))]
    fn has_dma(&self) -> bool {
        matches!(self.notify_region, NotifyRegion::Bar(..)) && !must_not_sleep()
    }

    /// Brings the device up: in memory of the kernel image, by physical addresses, or in memory of
    /// the DMA API if that does not work; the module in memory of the DMA API, and it may sleep.
    ///
    /// # Errors
    ///
    /// Fails as [`bring_up::bring_up`] does, and with errors of the DMA API. There is no log then,
    /// until the displays change: perhaps to some that can be used.
    pub(crate) fn bring_up(
        &mut self,
        to: &mut AtomicOption<Log<'static, QueueMemory>>,
    ) -> Result<(), BringUpError> {
        #[cfg(not(MODULE))]
        let result = self.bring_up_anywhere(to);
        #[cfg(MODULE)]
        let result = self.bring_up_dma(to);
        // One that does not answer is left alone.
        self.is_lost = matches!(&result, Err(error) if !error.is_timeout());
        result
    }

    /// Returns what the displays have changed to since the last call, and clears that event (virtio
    /// 1.3, section 5.7.4, VIRTIO_GPU_EVENT_DISPLAY). Waits for commands that the device executes.
    pub(crate) fn poll_displays(
        &mut self,
        log: &mut AtomicOption<Log<'static, QueueMemory>>,
    ) -> Displays {
        // If the device runs in a process of its own, QEMU waits for that process when the
        // configuration is read. If the process executes a command, it may wait for QEMU to take a
        // picture. Then neither goes on, and the guest is stopped for good (seen with
        // vhost-user-gpu).
        let is_settled = match log.as_mut() {
            Some(log) => log.drain(),
            None => self.is_lost,
        };
        if !is_settled || !config::displays_changed(self.transport.transport()) {
            Displays::Unchanged
        } else if log.as_mut().is_none_or(Log::scanouts_changed) {
            Displays::Differ
        } else {
            Displays::Same
        }
    }

    /// Brings the device up for [`Displays::Differ`], after [`BoundDevice::quiesce`]. The picture
    /// of its scanouts, which have `retained` these resources, stays until there is text.
    ///
    /// # Errors
    ///
    /// Fails as [`BoundDevice::bring_up`] does.
    pub(crate) fn bring_up_on_new_displays(
        &mut self,
        to: &mut AtomicOption<Log<'static, QueueMemory>>,
        retained: RetainedScanouts,
    ) -> Result<(), BringUpError> {
        self.was_ours = false;
        let result = match self.bring_up(to) {
            // The host may not have the memory for both pictures.
            Err(BringUpError::Log(LogError::Display(DisplayError::Gpu(GpuError::Response(_))))) => {
                self.bring_up(to)
            }
            result => result,
        };
        // After a reset nothing is retained.
        if let Some(log) = to
            .as_mut()
            .filter(|log| log.initial_state() == InitialState::Adopted)
        {
            log.adopt_scanouts(retained);
        }
        result
    }

    /// Recovers the log of a device that had timed out and answers now. Returns
    /// [`Health::Running`] if it did, [`Health::Reset`] if the device has to be brought up again;
    /// `None` if nothing is wrong, nothing helps, or it was recovered too often.
    pub(crate) fn recover(&mut self, log: &mut Log<'static, QueueMemory>) -> Option<Health> {
        let is_allowed = self.recoveries < MAX_RECOVERIES;
        let health = match self.health() {
            Health::Running if is_allowed && log.has_failed() => {
                log.recover().then_some(Health::Running)
            }
            Health::Reset if is_allowed => Some(Health::Reset),
            _ => None,
        }?;
        self.recoveries += 1;
        Some(health)
    }

    /// Returns the state of the device, which was brought up.
    fn health(&mut self) -> Health {
        let status = self.transport.transport().status();
        if status.is_disconnected() {
            Health::Gone
        } else if status.contains(DeviceStatus::DRIVER_OK)
            && !status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
        {
            Health::Running
        } else {
            Health::Reset
        }
    }

    /// Brings the device up in memory of the DMA API. May sleep.
    ///
    /// # Errors
    ///
    /// Fails as [`bring_up::bring_up`] does, and with errors of the DMA API.
    #[inline(never)]
    fn bring_up_dma(
        &mut self,
        to: &mut AtomicOption<Log<'static, QueueMemory>>,
    ) -> Result<(), BringUpError> {
        let device = match self.notify_region {
            NotifyRegion::Bar(device, _) => device,
            #[cfg(not(MODULE))]
            NotifyRegion::Memory(_) => {
                return Err(BringUpError::Setup(setup::SetupError::AccessPlatform));
            }
        };
        let (dma, text) = match &mut self.memory {
            Some(memory) => memory,
            none => none.insert((
                DmaMemory::new(device, MEMORY_BYTES).map_err(BringUpError::Pci)?,
                private_memory(log::TEXT_WORDS).map_err(BringUpError::Pci)?,
            )),
        };
        let memory = dma.take().ok_or(BringUpError::Memory)?;
        let addresses = match dma.is_behind_iommu() {
            true => Addresses::Iommu,
            false => Addresses::Platform,
        };
        text.fill(0);
        // SAFETY: The words are initialised, and stay in place until `self.memory` is dropped,
        // since nobody resizes the vector. The log that uses them ends before `self` is dropped.
        // Earlier logs have ended: `dma.take()` has returned memory, so it was released, which
        // happens when the log is gone. The vector is not accessed before the next call.
        let text = unsafe { core::slice::from_raw_parts_mut(text.as_mut_ptr(), text.len()) };
        self.start(memory, text, addresses, to)
    }

    /// Brings the device up in `memory`.
    ///
    /// # Errors
    ///
    /// Fails as [`bring_up::bring_up`] does.
    fn start(
        &mut self,
        memory: SharedBlock,
        text: &'static mut [u32],
        addresses: Addresses,
        to: &mut AtomicOption<Log<'static, QueueMemory>>,
    ) -> Result<(), BringUpError> {
        let (hal, shared) = QueueMemory::new(memory, QUEUE_BYTES, &NOTIFY);
        let (region, mapping) = (self.notify_region, &mut self.notify);
        let options = Options {
            scroll: bring_up::scroll(parameters::scroll()),
            mode: None,
            addresses,
            adopts: !core::mem::replace(&mut self.was_ours, true),
        };
        if options.adopts {
            region.clear_master();
        }
        let transport = self.transport.transport();
        let set_notify = |negotiated: &Negotiated| {
            let mapped = match mapping.take() {
                Some((mapped, notify)) if notify == negotiated.queue_notify => mapped,
                // Mapping and unmapping sleep.
                #[cfg(not(MODULE))]
                other if must_not_sleep() => {
                    *mapping = other;
                    return Err(BringUpError::Map(negotiated.queue_notify.offset as u64));
                }
                _ => region.map(negotiated.queue_notify)?,
            };
            // SAFETY: The field `notify` has the mapping from the next line on, and says why no
            // window is used after it.
            NOTIFY.set(unsafe { mapped.window() }, negotiated.queue_notify);
            *mapping = Some((mapped, negotiated.queue_notify));
            Ok(())
        };
        let memory = Memory { shared, text };
        bring_up::bring_up(
            transport,
            hal,
            memory,
            options,
            || region.set_master(),
            set_notify,
            to,
        )
    }

    /// Resets the device and ends the log. Returns false if the device does not finish the reset;
    /// the log goes on then. Such a device must not get another driver: virtio-pci waits for the
    /// end of a reset for ever.
    #[cfg(not(MODULE))]
    pub(crate) fn try_reset(&mut self, log: &mut AtomicOption<Log<'static, QueueMemory>>) -> bool {
        #[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
        if crate::crash_test::refuses_reset() {
            return false;
        }
        let Some(hal) = log.as_mut().map(Log::finish) else {
            return true;
        };
        if setup::reset(self.transport.transport(), &hal).is_err() {
            return false;
        }
        log.clear();
        NOTIFY.clear();
        // SAFETY: `setup::reset()` has read status 0 (virtio 1.3, section 2.1.2): the device has no
        // queue any more. `log.clear()` has dropped the log, and with it all other uses of the
        // block; `hal` is the last copy.
        unsafe { hal.release() };
        true
    }

    /// Ends the log and resets the device. Returns the log's error, if it has one to report.
    pub(crate) fn reset(&mut self, log: Log<'static, QueueMemory>) -> Option<GpuError> {
        self.end(|transport, hal| setup::reset(transport, hal), log)
    }

    /// Ends the log and resets the queues of the device, if it allows that: its picture stays, and
    /// the next driver can adopt the device. Returns the log's error, if it has one to report.
    pub(crate) fn quiesce(&mut self, log: Log<'static, QueueMemory>) -> Option<GpuError> {
        self.end(|transport, hal| setup::quiesce(transport, hal), log)
    }

    /// Ends the log and stops the device.
    fn end(&mut self, how: StopTransport, log: Log<'static, QueueMemory>) -> Option<GpuError> {
        let (hal, error) = log.end();
        self.stop(how, hal);
        error
    }

    /// Ends a log whose state may be half changed, and resets the device.
    #[cfg(not(MODULE))]
    pub(crate) fn abandon(&mut self, log: Log<'static, QueueMemory>) {
        self.stop(|transport, hal| setup::reset(transport, hal), log.abandon());
    }

    /// Stops the device, whose log has ended, and frees the memory. If the device does not stop,
    /// the memory stays in use.
    fn stop(&mut self, how: StopTransport, hal: QueueMemory) {
        NOTIFY.clear();
        #[allow(unused_mut)]
        let mut is_stopped = how(self.transport.transport(), &hal).is_ok();
        #[cfg(all(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST, not(MODULE)))]
        {
            is_stopped &= !crate::crash_test::refuses_reset();
        }
        if is_stopped {
            // SAFETY: The device accesses no queue any more: `setup::reset()` has read status 0, or
            // `setup::quiesce()` has read that all queues are reset. The log is gone: `end()` and
            // `abandon()`, the callers, have consumed it to get `hal`, which is the last copy.
            unsafe { hal.release() };
        }
    }
}

/// Allocates zeroed memory of `words` 32-bit words that no device accesses.
///
/// # Errors
///
/// Fails if there is no memory.
fn private_memory(words: usize) -> Result<VVec<u32>, PciError> {
    let mut memory = VVec::new();
    match memory.resize(words, 0, GFP_KERNEL) {
        Ok(()) => Ok(memory),
        Err(error) => Err(PciError::new("there is no memory for it", error.into())),
    }
}

/// Maps a region of a device's BARs.
///
/// # Errors
///
/// [`BringUpError::Bar`] if the region is not within its BAR, [`BringUpError::Map`] if it cannot be
/// mapped.
fn map(device: PciDevice, region: &BarRegion) -> Result<IoMapping, BringUpError> {
    let (start, _) = device
        .memory_bar(region.bar)
        .filter(|(_, size)| region.fits(*size))
        .ok_or(BringUpError::Bar(region.bar))?;
    IoMapping::bar(device, region).ok_or(BringUpError::Map(start + u64::from(region.offset)))
}
