# SPDX-License-Identifier: GPL-2.0
#
# The driver as patches against a kernel tree: `make series KDIR=~/linux`, and a check of them.

series-tool := $(build)/target/debug/series
series = $(series-tool) --kernel $(source) --bitflags $(bitflags) --out $(build)/series

$(series-tool): $(shell find tests/series -name '*.rs' -o -name Cargo.toml) tests/Cargo.lock
	@tests/progress $(log)/series-build.log 'building what makes patches' 20 \
		cargo build $(cargo-flags) -p series
	@touch $@

# The patches are in build/series/patches/, with a cover letter.
series: $(source)/Makefile $(bitflags)/src/lib.rs $(series-tool)
	@$(series) $(if $(FROM),--from '$(FROM)')

# Each patch, one after the other: git am, checkpatch, and a build as a part of the kernel and as a
# module, in a tree of its own below build/series/.
series-check: $(obj)/.stamp-config $(bitflags)/src/lib.rs $(series-tool)
	@$(series) --from 'The virtgpu_bridge authors <virtgpu_bridge@example.org>' --check \
		--config $(obj)/.config | tee $(log)/series-check-$(name).log
