// SPDX-License-Identifier: GPL-2.0

//! Mutexes that the compiler initialises. The kernel crate's mutexes are initialised at run time;
//! that would need a lock here, since several threads may be the first user.

use core::marker::PhantomData;

use crate::linux::bindings;

/// The mutexes, named after the operations or the state that they guard.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Mutex {
    /// Registering and unregistering the console.
    Console = bindings::virtgpu_bridge_mutex_VIRTGPU_BRIDGE_MUTEX_CONSOLE,
    /// Probing a device.
    Probe = bindings::virtgpu_bridge_mutex_VIRTGPU_BRIDGE_MUTEX_PROBE,
    /// The reference to the device that is, or was, bound.
    Device = bindings::virtgpu_bridge_mutex_VIRTGPU_BRIDGE_MUTEX_DEVICE,
    /// Registering the KMS driver, and calling it.
    Kms = bindings::virtgpu_bridge_mutex_VIRTGPU_BRIDGE_MUTEX_KMS,
    /// Drawing a framebuffer.
    Framebuffer = bindings::virtgpu_bridge_mutex_VIRTGPU_BRIDGE_MUTEX_FRAMEBUFFER,
}

impl Mutex {
    /// Locks the mutex until the result is dropped. May sleep. The caller does not hold it already.
    pub(crate) fn lock(self) -> Guard {
        // SAFETY: The number is an index of the C side's array of mutexes, which the compiler has
        // initialised. The caller may sleep, and does not hold this mutex.
        unsafe { bindings::virtgpu_bridge_lock(self as bindings::virtgpu_bridge_mutex) };
        Guard {
            mutex: self,
            _here: PhantomData,
        }
    }
}

/// A locked mutex. The task that has locked it unlocks it.
#[must_use]
pub(crate) struct Guard {
    mutex: Mutex,
    _here: PhantomData<*mut ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: `lock()` has locked the mutex in this task: a guard is not `Send`, and is dropped
        // once.
        unsafe { bindings::virtgpu_bridge_unlock(self.mutex as bindings::virtgpu_bridge_mutex) };
    }
}
