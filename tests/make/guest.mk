# SPDX-License-Identifier: GPL-2.0
#
# What guests run.

# Debian's own packages for arm64, only unpacked, and the sample made of them.
guest-root := $(build)/debian-arm64
sample := $(build)/debian.cpio
$(sample): $(wildcard samples/initramfs/*)
	@tests/progress $(log)/debian.log 'unpacking the arm64 userland' 20 \
		samples/initramfs/build $@ $(guest-root)

# The sample with a graphical session.
session := $(build)/session.cpio
$(session): $(wildcard samples/session/*)
	@tests/progress $(log)/session.log 'a graphical session of arm64 packages' 2 samples/session/build $@

# Debian's own initramfs, made by its mkinitramfs on the kernel that there is, and a disk that it
# opens.
debian := $(build)/debian-initramfs/initramfs
$(debian): $(wildcard samples/splash/*) | $(build)/Image-$(name)
	@tests/progress $(log)/debian-initramfs.log "Debian's mkinitramfs, in a virtual machine" 10 \
		samples/splash/build $(build)/Image-$(name) $(dir $@)

# Boot loaders, of Debian's too.
loaders := $(build)/loaders-arm64
systemd-boot := $(loaders)/usr/lib/systemd/boot/efi/systemd-bootaa64.efi
$(systemd-boot):
	@rm -rf $(loaders)
	@tests/progress $(log)/loaders.log 'unpacking boot loaders' 20 mmdebstrap --variant=extract \
		--mode=$$([ "$$(id -u)" = 0 ] && echo root || echo auto) --architectures=arm64 \
		--include=grub-efi-arm64-bin,systemd-boot-efi trixie $(loaders)
	@touch $@

# What programs for the guest are linked with, of Debian's too.
sysroot := $(build)/sysroot-arm64
libc := $(sysroot)/usr/lib/aarch64-linux-gnu/libc.a
$(libc):
	@rm -rf $(sysroot)
	@tests/progress $(log)/sysroot.log 'unpacking the arm64 C library' 20 mmdebstrap --variant=extract \
		--mode=$$([ "$$(id -u)" = 0 ] && echo root || echo auto) --architectures=arm64 \
		--aptopt='APT::Install-Recommends "false"' --include=libc6-dev,libgcc-14-dev trixie $(sysroot)
	@touch $@

# What draws on a DRM device in the guest. It is linked statically, with a std that is built for it:
# a compiler brings one for its own machine only.
kms := $(build)/guest/aarch64-unknown-linux-gnu/release/kms
kms-flags := -Ctarget-feature=+crt-static -Clink-arg=--target=aarch64-linux-gnu \
	     -Clink-arg=-fuse-ld=lld -Clink-arg=--sysroot=$(sysroot)
$(kms): $(wildcard tests/guest-kms/src/*.rs) tests/guest-kms/Cargo.toml tests/guest-kms/Cargo.lock | $(libc)
	@RUSTC_BOOTSTRAP=1 CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=clang \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='$(kms-flags)' \
		tests/progress $(log)/kms.log 'building what draws in the guest' 45 \
		cargo build --locked --release -Zbuild-std=std,panic_abort --target aarch64-unknown-linux-gnu \
		--manifest-path tests/guest-kms/Cargo.toml --target-dir $(build)/guest
	@touch $@

# What writes lines in the guest, on Rust's core alone.
writer := $(build)/guest/aarch64-unknown-none/release/writer
$(writer): tests/guest/Cargo.toml tests/guest/Cargo.lock tests/guest/src/main.rs
	@RUSTC_BOOTSTRAP=1 CARGO_TARGET_AARCH64_UNKNOWN_NONE_LINKER=ld.lld \
		tests/progress $(log)/writer.log 'building what writes in the guest' 12 \
		cargo build --locked --release -Zbuild-std=core,compiler_builtins \
		-Zbuild-std-features=compiler-builtins-mem --target aarch64-unknown-none \
		--manifest-path tests/guest/Cargo.toml --target-dir $(build)/guest
	@touch $@
