# SPDX-License-Identifier: GPL-2.0
#
# The bench, see tests/BENCH.md.

# The driver's memory, less that of its tests.
bytes = $(shell llvm-nm -S $(obj)/drivers/video/virtgpu_bridge/drivers/virtgpu_bridge_crate.o | \
	perl -ane '$$sum += hex $$F[1] if @F == 4 && $$F[2] =~ /^[bd]$$/i && !/kunit/; END { print $$sum }')
novt := $(build)/Image-$(name)-novt
bench = $(bench-program) $(guest) --plain-image $(build)/Image-plain-$(name) \
	--peers-image $(build)/Image-peers-$(name) --novt-image $(novt) --writer $(writer) --kms $(kms) \
	--memory $(bytes) --baseline tests/bench.json

# One machine at a time, as instructions do not depend on the load, but times do.
bench: image $(build)/Image-peers-$(name) $(vm) $(writer) $(kms) $(sample)
	@$(MAKE) $(again) $(novt) VARIANT=novt
	@$(bench) --out build/bench $(if $(BASELINE),--update) $(if $(ONLY),--only '$(ONLY)') \
		| tee $(log)/bench-$(name).log

# The shortest case alone, which wants no other kernel. The baseline is of this one.
bench-check: image $(vm) $(writer) $(kms) $(sample)
	@$(bench) --short --out build/bench-check | tee $(log)/bench-check-$(name).log
