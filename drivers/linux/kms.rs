// SPDX-License-Identifier: GPL-2.0

//! The KMS driver (`drivers/kms`), which may be a module: its callbacks, and the pixels of a
//! framebuffer.

use core::{
    ops::Range,
    ptr,
    slice, //
};

use kernel::{
    bindings as kernel_bindings,
    ffi::{
        c_uint,
        c_void, //
    },
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
    }, //
};

#[cfg(not(MODULE))]
use crate::linux::driver_core::Device;
#[cfg(MODULE)]
use crate::linux::pci_device::PciDevice;
use crate::linux::{
    bindings,
    mutex::Mutex, //
};

/// The callbacks of the KMS driver; null if there is none. Changed and called with [`Mutex::Kms`]
/// locked.
static OPERATIONS: Atomic<*const bindings::virtgpu_bridge_kms_ops> = Atomic::new(ptr::null());
/// The bound device, to which this has a reference; null if there is none. Changed with
/// [`Mutex::Kms`] locked, as the next one.
static DEVICE: Atomic<*mut kernel_bindings::device> = Atomic::new(ptr::null_mut());
/// Set while the KMS driver has the device, or gets it when it registers.
static IS_STARTED: AtomicFlag = AtomicFlag::new(false);

/// Calls one of the callbacks, if the KMS driver is there. The caller has locked [`Mutex::Kms`].
macro_rules! call {
    ($callback:ident($($argument:expr)?)) => {{
        let operations = OPERATIONS.load(Relaxed);
        if !operations.is_null() {
            // SAFETY: `rust_virtgpu_bridge_kms_register()` has set the pointer. The driver stays
            // loaded, and the structure constant, until `rust_virtgpu_bridge_kms_unregister()`,
            // which waits for the mutex.
            if let Some(callback) = unsafe { (*operations).$callback } {
                // SAFETY: The callbacks may sleep, and are called one at a time, as `kms.h` asks
                // for. A device is valid, since `DEVICE` has a reference.
                unsafe { callback($($argument)?) };
            }
        }
    }};
}

/// Keeps `device`, which is bound, for the KMS driver. May sleep.
#[cfg(not(MODULE))]
pub(crate) fn set_device(device: &Device) {
    // SAFETY: The device is valid as long as `device` lives.
    unsafe { keep(device.as_ptr()) };
}

/// Keeps `device`, which is being bound, for the KMS driver. May sleep.
#[cfg(MODULE)]
pub(crate) fn set_device(device: PciDevice) {
    // SAFETY: By the invariants of `PciDevice` it is valid.
    unsafe { keep(device.as_device()) };
}

/// Refers to a device, unless there is one.
///
/// # Safety
///
/// The device is valid until this returns.
unsafe fn keep(device: *mut kernel_bindings::device) {
    let _guard = Mutex::Kms.lock();
    if DEVICE.load(Relaxed).is_null() {
        // SAFETY: By the safety requirement: it may be referenced.
        unsafe { kernel_bindings::get_device(device) };
        DEVICE.store(device, Relaxed);
    }
}

/// Gives the KMS driver the device of [`set_device`], now or when it registers; does nothing if it
/// has it. May sleep.
pub(crate) fn start() {
    let _guard = Mutex::Kms.lock();
    let device = DEVICE.load(Relaxed);
    if !device.is_null() && !IS_STARTED.xchg(true, Relaxed) {
        call!(bound(device.cast()));
    }
}

/// Takes the device from the KMS driver, because it is about to be released. Waits until the driver
/// does not draw any more. May sleep.
pub(crate) fn released() {
    let _guard = Mutex::Kms.lock();
    if IS_STARTED.xchg(false, Relaxed) {
        call!(released());
    }
    let device = DEVICE.xchg(ptr::null_mut(), Relaxed);
    // SAFETY: The pointer is null, or one that `set_device()` has stored with a reference. That is
    // given up once: the pointer was taken out above.
    unsafe { kernel_bindings::put_device(device) };
}

/// Has the KMS driver draw all of its framebuffer, if there is one. May sleep.
pub(crate) fn redraw() {
    let _guard = Mutex::Kms.lock();
    call!(redraw());
}

/// Tells the KMS driver that the screen is another one, perhaps of another size. May sleep.
pub(crate) fn changed() {
    let _guard = Mutex::Kms.lock();
    call!(changed());
}

/// Registers the KMS driver, and gives it the device, if it may have that.
///
/// # Safety
///
/// `operations` and all callbacks in it stay until [`rust_virtgpu_bridge_kms_unregister`] returns.
#[no_mangle]
unsafe extern "C" fn rust_virtgpu_bridge_kms_register(
    operations: *const bindings::virtgpu_bridge_kms_ops,
) {
    let _guard = Mutex::Kms.lock();
    OPERATIONS.store(operations, Relaxed);
    if IS_STARTED.load(Relaxed) {
        call!(bound(DEVICE.load(Relaxed).cast()));
    }
}

/// Unregisters the KMS driver: it is not called any more.
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_kms_unregister() {
    let _guard = Mutex::Kms.lock();
    if IS_STARTED.load(Relaxed) {
        call!(released());
    }
    OPERATIONS.store(ptr::null(), Relaxed);
}

/// Pixels of a framebuffer, in XRGB8888: words of `0x00RRGGBB` on a little-endian machine.
///
/// # Invariants
///
/// `height` rows of `width` pixels, each `pitch` bytes after the one before, are mapped from
/// `start` on. Programs may change them at any time.
pub(crate) struct Pixels {
    start: *const u8,
    pitch: usize,
    width: usize,
    height: usize,
}

impl Pixels {
    /// Makes the pixels that an area of the KMS driver's is part of.
    ///
    /// # Safety
    ///
    /// The framebuffer of `area` is mapped as long as the result is used.
    pub(crate) unsafe fn new(area: &bindings::virtgpu_bridge_kms_area) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            start: area.pixels.cast(),
            pitch: area.pitch as usize,
            width: area.width as usize,
            height: area.height as usize,
        }
    }

    /// Returns the size in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Copies the pixels from column `x` of row `y` on; blackens those that there are not.
    pub(crate) fn copy(&self, x: u32, y: u32, to: &mut [u32]) {
        let (x, y) = (x as usize, y as usize);
        let count = match y < self.height {
            true => to.len().min(self.width.saturating_sub(x)),
            false => 0,
        };
        let (pixels, rest) = to.split_at_mut(count);
        rest.fill(0);
        if !pixels.is_empty() {
            let from = self
                .start
                .wrapping_add(y * self.pitch + x * size_of::<u32>());
            // SAFETY: `count` pixels from column x of row y on are within the framebuffer, which is
            // mapped, by the invariants. `memcpy()` is the kernel's, which copies what programs
            // change meanwhile; any bytes are pixels.
            unsafe {
                kernel_bindings::memcpy(
                    pixels.as_mut_ptr().cast(),
                    from.cast(),
                    size_of_val(pixels),
                )
            };
        }
    }
}

/// Handles the calls of the KMS driver. All functions but [`Screen::size`] may sleep.
pub(crate) trait Screen {
    /// Returns the size of the screen in pixels; 0 if there is none.
    fn size() -> (u32, u32);

    /// Reads the EDID of the screen to the start of `memory`. Returns its size in bytes: 0 if there
    /// is none, or if `memory` is too small for the device's response. Its content is not checked.
    /// The caller does not hold the console lock, or a lock of DRM's.
    fn edid(memory: &mut [u8]) -> usize;

    /// Handles a CRTC that becomes active, or inactive.
    fn set_active(is_active: bool);

    /// Handles a DRM master that comes, or goes.
    fn set_master(has_master: bool);

    /// Handles fbcon, which has the CRTC, or has gone.
    fn set_console(has_console: bool);

    /// Draws the columns `x` and the rows `y` of a framebuffer.
    fn draw(pixels: &Pixels, x: Range<u32>, y: Range<u32>);
}

/// Stores the size of the screen.
///
/// # Safety
///
/// The pointers are valid for writes.
pub(crate) unsafe fn size<T: Screen>(width: *mut c_uint, height: *mut c_uint) {
    // SAFETY: By the safety requirement.
    unsafe { (*width, *height) = T::size() };
}

/// Reads the EDID of the screen, as [`Screen::edid`].
///
/// # Safety
///
/// `memory` is the start of `length` bytes that are valid and initialised. Nobody else accesses
/// them until this returns.
pub(crate) unsafe fn edid<T: Screen>(memory: *mut c_void, length: usize) -> usize {
    // SAFETY: By the safety requirement.
    T::edid(unsafe { slice::from_raw_parts_mut(memory.cast(), length) })
}

/// Draws an area.
///
/// # Safety
///
/// `area` is valid, and its framebuffer is mapped, until this returns.
pub(crate) unsafe fn draw<T: Screen>(area: *const bindings::virtgpu_bridge_kms_area) {
    // SAFETY: By the safety requirement.
    let (area, pixels) = unsafe { (&*area, Pixels::new(&*area)) };
    let (width, height) = pixels.size();
    let (x, y) = (area.x1..area.x2.min(width), area.y1..area.y2.min(height));
    if !x.is_empty() && !y.is_empty() {
        T::draw(&pixels, x, y);
    }
}

/// Defines the functions that those of `drivers/kms/kms.h` call, on a type with the trait
/// [`Screen`].
macro_rules! declare_kms_screen {
    ($type:ty) => {
        /// Stores the size of the screen.
        ///
        /// # Safety
        ///
        /// Called by the KMS driver alone; see [`size`](crate::linux::kms::size).
        #[no_mangle]
        unsafe extern "C" fn rust_virtgpu_bridge_kms_size(
            width: *mut kernel::ffi::c_uint,
            height: *mut kernel::ffi::c_uint,
        ) {
            // SAFETY: By the safety requirement.
            unsafe { $crate::linux::kms::size::<$type>(width, height) };
        }

        /// Reads the EDID of the screen.
        ///
        /// # Safety
        ///
        /// Called by the KMS driver alone; see [`edid`](crate::linux::kms::edid).
        #[no_mangle]
        unsafe extern "C" fn rust_virtgpu_bridge_kms_edid(
            memory: *mut kernel::ffi::c_void,
            length: usize,
        ) -> usize {
            // SAFETY: By the safety requirement.
            unsafe { $crate::linux::kms::edid::<$type>(memory, length) }
        }

        /// Handles a CRTC that becomes active, or inactive.
        #[no_mangle]
        extern "C" fn rust_virtgpu_bridge_kms_set_active(is_active: bool) {
            <$type as $crate::linux::kms::Screen>::set_active(is_active);
        }

        /// Handles a DRM master that comes, or goes.
        #[no_mangle]
        extern "C" fn rust_virtgpu_bridge_kms_set_master(has_master: bool) {
            <$type as $crate::linux::kms::Screen>::set_master(has_master);
        }

        /// Handles fbcon, which has the CRTC, or has gone.
        #[no_mangle]
        extern "C" fn rust_virtgpu_bridge_kms_set_console(has_console: bool) {
            <$type as $crate::linux::kms::Screen>::set_console(has_console);
        }

        /// Draws an area of the framebuffer.
        ///
        /// # Safety
        ///
        /// Called by the KMS driver alone; see [`draw`](crate::linux::kms::draw).
        #[no_mangle]
        unsafe extern "C" fn rust_virtgpu_bridge_kms_draw(
            area: *const $crate::linux::bindings::virtgpu_bridge_kms_area,
        ) {
            // SAFETY: By the safety requirement.
            unsafe { $crate::linux::kms::draw::<$type>(area) };
        }
    };
}
pub(crate) use declare_kms_screen;
