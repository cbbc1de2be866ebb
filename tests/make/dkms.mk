# SPDX-License-Identifier: GPL-2.0
#
# The driver for kernels of a distribution: a Debian package for DKMS.

dkms: $(bitflags)/src/lib.rs
	@VERSION='$(VERSION)' MAINTAINER='$(MAINTAINER)' samples/dkms/build $(bitflags) $(build)/dkms
