// SPDX-License-Identifier: GPL-2.0

//! Links the image as a boot services driver: it stays loaded when its entry point returns, and the
//! kernel gets its memory.

fn main() {
    println!("cargo:rustc-link-arg-bins=/subsystem:efi_boot_service_driver");
}
