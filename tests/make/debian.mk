# SPDX-License-Identifier: GPL-2.0
#
# Debian's own kernel with the driver built in, as a package.

deb: $(bitflags)/src/lib.rs
	@samples/debian/kernel $(FLAVOUR) $(bitflags)

# A whole Debian system with that kernel, from firmware to a login, read off its screen. The first
# time takes long: the kernel, and then the disk.
debian-disk := $(build)/debian/system/disk.img
$(debian-disk): samples/debian/system | deb
	@tests/progress $(log)/debian-system.log 'a disk with Debian 13' 2000 samples/debian/system \
		$(dir $@) $(build)/debian/arm64/virtgpu-bridge-image-*.deb
check-debian: $(debian-disk) $(vm) $(source)/Makefile
	@$(vm) debian --disk $(debian-disk) --fonts $(source) --out build/vm-debian \
		$(if $(ONLY),--only $(ONLY)) | tee $(log)/check-debian.log
