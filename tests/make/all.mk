# SPDX-License-Identifier: GPL-2.0
#
# All that `make` does, by subject. It is run in the project's top folder.

# A pipe into tee keeps the exit status.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

include tests/make/variables.mk

.PHONY: $(TARGETS)

# For targets that are made one after the other, whatever becomes of each.
again := --no-print-directory -f tests/make/all.mk

build := $(CURDIR)/build
log := $(build)/log
# A build with other options is another kernel.
name := $(if $(KDIR),own,$(KVERSION))$(addprefix -,$(VARIANT))
comma := ,
cargo-flags := --locked --manifest-path tests/Cargo.toml --target-dir $(build)/target

include tests/make/kernel.mk
include tests/make/module.mk
include tests/make/debian.mk
include tests/make/uefi.mk
include tests/make/guest.mk
include tests/make/vm.mk
include tests/make/bench.mk
include tests/make/host.mk
include tests/make/style.mk
include tests/make/series.mk
include tests/make/dkms.mk
include tests/make/check.mk
