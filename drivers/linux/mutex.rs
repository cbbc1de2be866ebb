// SPDX-License-Identifier: GPL-2.0

//! Mutexes of the driver's own. The kernel crate's are initialised at run time, by whoever comes
//! first; these are initialised by the compiler, since several may come first.

use core::marker::PhantomData;

use crate::linux::bindings;

/// A mutex, by what it guards.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Mutex {
    /// Registering our console, and taking it from the list again.
    Console = bindings::virtgpu_mutex_VIRTGPU_MUTEX_CONSOLE,
    /// Making a device the screen.
    Probe = bindings::virtgpu_mutex_VIRTGPU_MUTEX_PROBE,
    /// Which device that is to the driver core.
    Holder = bindings::virtgpu_mutex_VIRTGPU_MUTEX_HOLDER,
}

impl Mutex {
    /// Waits for the mutex, which is given back when the result is dropped. Called where sleeping
    /// is allowed.
    pub(crate) fn lock(self) -> Guard {
        // SAFETY: The number is an index of the C side's array of mutexes, which the compiler has
        // initialised. `mutex_lock()` may sleep, which the caller may, who does not have this mutex
        // already.
        unsafe { bindings::virtgpu_lock(self as bindings::virtgpu_mutex) };
        Guard {
            mutex: self,
            _here: PhantomData,
        }
    }
}

/// A mutex that is held. It is given back by the task that has it.
#[must_use]
pub(crate) struct Guard {
    mutex: Mutex,
    _here: PhantomData<*mut ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: `lock()` has taken the mutex for this very task: a guard is not `Send`, and is
        // dropped once.
        unsafe { bindings::virtgpu_unlock(self.mutex as bindings::virtgpu_mutex) };
    }
}
