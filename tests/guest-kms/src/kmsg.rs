// SPDX-License-Identifier: GPL-2.0

//! What the program says, in the kernel's log, and the names of errors.

use rustix::io::Errno;
use std::{fmt::Display, fs::File, io, io::Write};

/// The kernel's log.
pub struct Kmsg(Option<File>);

impl Kmsg {
    /// Opens it. Without it, nothing is said.
    pub fn open() -> Self {
        Self(File::options().write(true).open("/dev/kmsg").ok())
    }

    /// Writes a line, at once, so that it is a record.
    pub fn say(&mut self, what: impl Display) {
        if let Some(file) = &mut self.0 {
            let _ = file.write_all(format!("kms: {what}\n").as_bytes());
        }
    }
}

/// Names of what DRM, files and sockets answer.
macro_rules! names {
    ($($name:ident)*) => {
        [$((Errno::$name, concat!("E", stringify!($name)))),*]
    };
}

const NAMES: [(Errno, &str); 28] = names!(
    ACCESS AGAIN BADF BUSY DEADLK EXIST FAULT INTR INVAL IO MFILE NODEV NOENT NOMEM NOSPC NOSYS
    NOTSUP NOTTY NXIO OPNOTSUPP OVERFLOW PERM PIPE RANGE ROFS SRCH TIMEDOUT TOOBIG
);

/// Returns the name of an error, as `errno.h` has it, or its number.
pub fn name(error: &io::Error) -> String {
    let Some(errno) = Errno::from_io_error(error) else {
        return error.to_string();
    };
    let known = NAMES.iter().find(|(known, _)| *known == errno);
    match known {
        Some((Errno::ACCESS, _)) => "EACCES".into(),
        Some((Errno::TOOBIG, _)) => "E2BIG".into(),
        Some((_, name)) => (*name).into(),
        None => format!("error {}", errno.raw_os_error()),
    }
}
