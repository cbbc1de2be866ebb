// SPDX-License-Identifier: GPL-2.0

//! Has the image be a driver, which stays when its entry point returns, in memory for boot
//! services, which the kernel gets back.

fn main() {
    println!("cargo:rustc-link-arg-bins=/subsystem:efi_boot_service_driver");
}
