# SPDX-License-Identifier: GPL-2.0
#
# virtgpu_bridge: `make run` shows it, `make check` tests it, `make help` lists the rest.
#
# This file only forwards: to tests/make/all.mk, in the tool root (tests/toolroot) if this machine's
# own tools do not suffice. The kernel's build reads Kbuild, not this file.

include tests/make/variables.mk

.DEFAULT_GOAL := help
.PHONY: help clean $(TARGETS)

help:
	@echo 'The two commands:'
	@echo '  make run        boot a virtual machine with the driver; screenshots in build/run/'
	@echo '  make check      host, KUnit and VM tests on one kernel; ends with N passed, N failed'
	@echo 'The rest:'
	@echo '  check-all       check, and the same on other kernels and with debug options'
	@echo '  bench           what a line costs, here and on other consoles; build/bench/ (BASELINE=1 keeps it)'
	@echo '  image           build/Image, the kernel with the driver built in'
	@echo '  plain-image     build/Image-plain, the same kernel without it'
	@echo '  modules         build/virtgpu_bridge*.ko, the driver as modules (KDIR=: for the kernel built there)'
	@echo '  dkms            build/dkms/*.deb, a Debian package: DKMS builds the modules for the kernels of a machine'
	@echo '  handoff         build/handoff/, the UEFI driver that keeps the picture of firmware for the kernel'
	@echo '  graft ungraft   put the driver into the kernel tree KDIR=, or take it out again'
	@echo '  deb             build/debian/*/, the arm64 kernel of Debian with the driver, a package (FLAVOUR=)'
	@echo '  check-debian    boots a Debian system with that kernel, and reads its screen (takes long at first)'
	@echo '  kunit host-test vm-test bench-check style    parts of check (ONLY= picks VM cases by name)'
	@echo '  fuzz            another part: fuzz what reads foreign bytes (SECONDS=60 for each target, FUZZ=name,..)'
	@echo '  mutants         plant faults in the pure modules, and count those that the host tests notice (SEED=)'
	@echo '  survey          what other displays show of a kernel that dies'
	@echo '  vm-list         the VM cases that this kernel runs, and how many it leaves out'
	@echo '  series          build/series/patches/, the driver as patches against KDIR= (FROM="Name address@host")'
	@echo '  series-check    git am, checkpatch and a build for each of these patches'
	@echo '  fmt clippy      format the sources; lint them as the kernel does'
	@echo '  clean           remove build/'
	@echo 'Variables: KVERSION=7.2|7.3 (now $(KVERSION)), KDIR=kernel tree, DISPLAY_WINDOW=1, TOOLROOT=yes|no'

ifdef IN_TOOLROOT
override TOOLROOT := no
endif
ifeq ($(TOOLROOT),auto)
TOOLROOT := $(shell tests/tools-pass 2>/dev/null && echo no || echo yes)
endif

$(TARGETS):
ifeq ($(TOOLROOT),yes)
	@MAKEFLAGS= TOOLROOT_BIND="$(abspath $(KDIR))" tests/toolroot \
		make --no-print-directory -f tests/make/all.mk $@ $(MAKEOVERRIDES)
else
	@$(MAKE) --no-print-directory -f tests/make/all.mk $@
endif

clean:
	tests/toolroot --discard
	rm -rf build
