# SPDX-License-Identifier: GPL-2.0
#
# The style of the sources.

rust-files = $(shell git ls-files '*.rs')

fmt:
	@rustfmt --edition 2021 --config-path $(source)/.rustfmt.toml $(rust-files)

# As the kernel has it: rustfmt, clippy for both ways to build, checkpatch, no compiler warnings, a
# stack that suffices.
style: image modules $(vm)
	@tests/style $(source) $(module-kernel) $(bitflags) $(name) | tee $(log)/style-$(name).log

clippy: image
	@tests/style --clippy $(source) $(module-kernel) $(bitflags) $(name)
