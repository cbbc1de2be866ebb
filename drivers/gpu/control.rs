// SPDX-License-Identifier: GPL-2.0

//! The control queue: typed commands out, answers in (VIRTIO 1.3, section 5.7.6).
//!
//! Commands that draw are posted and forgotten: they run even if the guest dies next. Their answers
//! are collected later; an error counts, and the first one is kept for a report.

use core::fmt;

use zerocopy::{
    FromBytes,
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
        ring::{
            Part,
            Ring,
            RingError, //
        },
        Hal, //
    },
};

/// Why a command did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GpuError {
    /// The queue failed.
    Ring(RingError),
    /// The device refused the command.
    Refused(Refusal),
}

/// An answer that is not the one hoped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The command's type (section 5.7.6.7).
    pub(crate) command: u32,
    /// The response's type.
    pub(crate) response: u32,
}

impl From<RingError> for GpuError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for Refusal {
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
    ring: Ring<H>,
    answers: Answers,
}

/// What came of the commands that nobody waits for.
#[derive(Default)]
struct Answers {
    errors: u32,
    first: Option<Refusal>,
}

impl Answers {
    fn note<H: Hal + Clone>(&mut self, ring: &Ring<H>, slot: u16) {
        let mut response = [0; 4];
        ring.response(slot, &mut response);
        let response = u32::from_le_bytes(response);
        if response != OK_NODATA {
            let mut command = [0; 4];
            ring.request(slot, &mut command);
            // A resource that the host keeps costs it memory, and no text.
            if u32::from_le_bytes(command) == RESOURCE_UNREF {
                return;
            }
            self.errors = self.errors.saturating_add(1);
            self.first.get_or_insert(Refusal {
                command: u32::from_le_bytes(command),
                response,
            });
        }
    }
}

impl<H: Hal + Clone> Control<H> {
    /// The control queue on `ring`.
    pub(crate) fn new(ring: Ring<H>) -> Self {
        Self {
            ring,
            answers: Answers::default(),
        }
    }

    /// The ring's memory and doorbell.
    pub(crate) fn hal(&self) -> &H {
        self.ring.hal()
    }

    /// Puts a command into the queue and returns the bit of its slot; the device sees it with the
    /// next [`Control::publish`].
    ///
    /// # Errors
    ///
    /// The queue failed, now or before.
    pub(crate) fn post<C: Command<Response = Header>>(
        &mut self,
        command: &C,
    ) -> Result<u32, GpuError> {
        let Self { ring, answers } = self;
        let slot = ring.post(
            command.as_bytes(),
            size_of::<Header>(),
            &mut |ring, slot| answers.note(ring, slot),
        )?;
        Ok(1 << slot)
    }

    /// Sends a command, with an extra part if it has one, and waits for the answer.
    ///
    /// # Errors
    ///
    /// The queue failed, or the device refused the command.
    pub(crate) fn call<C: Command>(
        &mut self,
        command: &C,
        extra: Option<Part>,
    ) -> Result<C::Response, GpuError> {
        let Self { ring, answers } = self;
        let mut response = C::Response::default();
        ring.call(
            command.as_bytes(),
            extra,
            response.as_mut_bytes(),
            &mut |ring, slot| answers.note(ring, slot),
        )?;
        let kind = |bytes: &[u8]| match Header::read_from_prefix(bytes) {
            Ok((header, _)) => header.kind.get(),
            Err(_) => 0,
        };
        let answer = kind(response.as_bytes());
        if answer == C::OK {
            Ok(response)
        } else {
            Err(GpuError::Refused(Refusal {
                command: kind(command.as_bytes()),
                response: answer,
            }))
        }
    }

    /// As [`Control::call`], of a command that the device may refuse.
    ///
    /// # Errors
    ///
    /// The queue failed.
    pub(crate) fn try_call<C: Command>(&mut self, command: &C) -> Result<(), GpuError> {
        match self.call(command, None) {
            Err(GpuError::Refused(_)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Shows the device what was posted.
    pub(crate) fn publish(&mut self) {
        self.ring.publish();
    }

    /// Waits until the device has completed the commands in the slots of `bits`.
    ///
    /// # Errors
    ///
    /// The queue failed, now or before.
    pub(crate) fn wait(&mut self, bits: u32) -> Result<(), GpuError> {
        let Self { ring, answers } = self;
        if ring.in_flight() & bits == 0 {
            return Ok(());
        }
        ring.publish();
        ring.wait(&mut |ring, slot| answers.note(ring, slot), |ring| {
            ring.in_flight() & bits == 0
        })?;
        Ok(())
    }

    /// As [`Ring::recover`].
    pub(crate) fn recover(&mut self) -> bool {
        let Self { ring, answers } = self;
        ring.recover(&mut |ring, slot| answers.note(ring, slot))
    }

    /// How many posted commands the device has refused, and the first of them.
    pub(crate) fn refusals(&self) -> (u32, Option<Refusal>) {
        (self.answers.errors, self.answers.first)
    }
}
