# SPDX-License-Identifier: GPL-2.0
#
# Debian's own kernel with the driver built in, as a package.

deb: $(bitflags)/src/lib.rs
	@samples/debian/kernel $(FLAVOUR) $(bitflags)
