# SPDX-License-Identifier: GPL-2.0
#
# What users set, and the targets that they name.

# The kernel: a version that Debian packages, or a source tree of one's own.
KVERSION ?= 7.3
KDIR ?=
# A configuration of its own: tests/debug.config, kcsan, novt, rt, cfi, modules, 16k or 64k.
VARIANT ?=
# VM cases, and cases of the bench, by parts of their names, with commas between them. LONG=1 adds
# the VM cases that take long.
ONLY ?=
SKIP ?=
LONG ?=
# Whether to work in the tool root (tests/toolroot): yes, no, or what tests/tools-pass finds.
TOOLROOT ?= auto
# Whether `make run` opens a window.
DISPLAY_WINDOW ?=
# The faults that `make mutants` plants.
SEED ?=
# Seconds that each fuzz target gets, and the targets: all if none is named.
SECONDS := 60
FUZZ :=
# Who sends the patches of `make series`, as "Name address@host"; git's user if nobody is named.
FROM ?=
# Debian's flavour of the kernel of `make deb`: arm64 or cloud-arm64.
FLAVOUR ?= arm64
# Whether `make bench` makes what it counts the baseline.
BASELINE ?=

TARGETS := run check check-all image plain-image modules dkms deb check-debian handoff graft ungraft kunit host-test \
	   fuzz mutants vm-test vm-list survey bench bench-check style series series-check fmt clippy
