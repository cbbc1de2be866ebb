// SPDX-License-Identifier: GPL-2.0

//! The control queue: typed commands and their responses (VIRTIO 1.3, sections 5.7.2 and 5.7.6).
//!
//! The driver does not wait for the commands that draw: they run even if the guest dies next. It
//! reads their responses later, counts the errors, and keeps the first one for a report.

use core::fmt;

use zerocopy::{
    FromBytes,
    FromZeros,
    IntoBytes, //
};

use crate::{
    gpu::protocol::{
        Command,
        Header,
        OK_NODATA,
        RESOURCE_UNREF, //
    },
    virtio::{
        queue::{
            BufferElement,
            QueueError,
            VirtQueue, //
        },
        Hal, //
    }, //
};

/// Why a command did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GpuError {
    /// The queue failed.
    Queue(QueueError),
    /// The device responded with an error.
    Response(ErrorResponse),
}

/// A response of another type than the one that means success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    /// The type of the command (section 5.7.6.7).
    pub(crate) command: u32,
    /// The type of the response (section 5.7.6.7).
    pub(crate) response: u32,
}

impl From<QueueError> for GpuError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(error) => error.fmt(f),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the device answered command {:#06x} with {:#06x}",
            self.command, self.response
        )
    }
}

/// The control queue of a virtio-gpu device.
pub(crate) struct Control<H> {
    queue: VirtQueue<H>,
    errors: Errors,
}

/// The error responses to commands that [`Control::add`] added.
#[derive(Default)]
struct Errors {
    count: u32,
    first: Option<ErrorResponse>,
}

impl Errors {
    /// Checks the response in `slot`. Counts an error, and keeps the first one.
    fn check<H: Hal + Clone>(&mut self, queue: &VirtQueue<H>, slot: u16) {
        let mut response = [0; 4];
        queue.response(slot, &mut response);
        let response = u32::from_le_bytes(response);
        if response != OK_NODATA {
            let mut command = [0; 4];
            queue.request(slot, &mut command);
            // Ignore this error: a resource that the host keeps costs memory, but no text.
            if u32::from_le_bytes(command) == RESOURCE_UNREF {
                return;
            }
            self.count = self.count.saturating_add(1);
            self.first.get_or_insert(ErrorResponse {
                command: u32::from_le_bytes(command),
                response,
            });
        }
    }
}

impl<H: Hal + Clone> Control<H> {
    /// Creates the control queue on `queue`, which is number 0 of its device.
    pub(crate) fn new(queue: VirtQueue<H>) -> Self {
        Self {
            queue,
            errors: Errors::default(),
        }
    }

    /// Returns the queue's environment: its memory and its notification.
    pub(crate) fn hal(&self) -> &H {
        self.queue.hal()
    }

    /// Adds a command to the queue and returns the bit of its slot. Waits for a free slot if there
    /// is none. The device sees the command after the next [`Control::kick`].
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed, now or before.
    pub(crate) fn add<C: Command<Response = Header>>(
        &mut self,
        command: &C,
    ) -> Result<u32, GpuError> {
        let Self { queue, errors } = self;
        let slot = queue.add(
            command.as_bytes(),
            size_of::<Header>(),
            &mut |queue, slot| errors.check(queue, slot),
        )?;
        Ok(1 << slot)
    }

    /// Sends a command, with a second device-readable element if it has one, and waits for the
    /// response, which it returns.
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed, [`GpuError::Response`] if the command did.
    pub(crate) fn call<C: Command>(
        &mut self,
        command: &C,
        extra: Option<BufferElement>,
    ) -> Result<C::Response, GpuError> {
        let mut response = C::Response::new_zeroed();
        self.call_into(command, extra, &mut response)?;
        Ok(response)
    }

    /// Does the same, and stores the response in `response`.
    ///
    /// # Errors
    ///
    /// As [`Control::call`].
    pub(crate) fn call_into<C: Command>(
        &mut self,
        command: &C,
        extra: Option<BufferElement>,
        response: &mut C::Response,
    ) -> Result<(), GpuError> {
        let Self { queue, errors } = self;
        queue.call(
            command.as_bytes(),
            extra,
            response.as_mut_bytes(),
            &mut |queue, slot| errors.check(queue, slot),
        )?;
        let kind = |bytes: &[u8]| match Header::read_from_prefix(bytes) {
            Ok((header, _)) => header.kind.get(),
            Err(_) => 0,
        };
        let response_kind = kind(response.as_bytes());
        if response_kind == C::OK {
            return Ok(());
        }
        Err(GpuError::Response(ErrorResponse {
            command: kind(command.as_bytes()),
            response: response_kind,
        }))
    }

    /// Sends a command and waits for the response. Treats an error response as success.
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed.
    pub(crate) fn try_call<C: Command>(&mut self, command: &C) -> Result<(), GpuError> {
        match self.call(command, None) {
            Err(GpuError::Response(_)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Makes the added commands available to the device, as [`VirtQueue::kick`].
    pub(crate) fn kick(&mut self) {
        self.queue.kick();
    }

    /// Waits until the device has completed the commands in the slots of `bits`.
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed, now or before.
    pub(crate) fn wait(&mut self, bits: u32) -> Result<(), GpuError> {
        let Self { queue, errors } = self;
        if queue.in_flight() & bits == 0 {
            return Ok(());
        }
        queue.kick();
        queue.wait(&mut |queue, slot| errors.check(queue, slot), |queue| {
            queue.in_flight() & bits == 0
        })?;
        Ok(())
    }

    /// Returns whether the device has completed the commands in the slots of `bits`. Does not wait.
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed, now or before.
    pub(crate) fn is_done(&mut self, bits: u32) -> Result<bool, GpuError> {
        let Self { queue, errors } = self;
        queue.kick();
        queue.poll_used(&mut |queue, slot| errors.check(queue, slot))?;
        Ok(queue.in_flight() & bits == 0)
    }

    /// Starts again after an operation was interrupted, as [`VirtQueue::restart`].
    pub(crate) fn restart(&mut self) {
        self.queue.restart();
        self.errors = Errors::default();
    }

    /// Makes a queue that has stalled usable again, as [`VirtQueue::recover`]. Returns whether it
    /// did.
    pub(crate) fn recover(&mut self) -> bool {
        let Self { queue, errors } = self;
        queue.recover(&mut |queue, slot| errors.check(queue, slot))
    }

    /// Returns the number of error responses to commands that were added, and the first of them.
    pub(crate) fn errors(&self) -> (u32, Option<ErrorResponse>) {
        (self.errors.count, self.errors.first)
    }
}
