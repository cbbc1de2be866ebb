# SPDX-License-Identifier: GPL-2.0
#
# Kernels: sources, configurations and images.

source := $(if $(KDIR),$(abspath $(KDIR)),$(build)/linux-$(KVERSION))
obj := $(build)/obj-$(name)
jobs := -j$(shell nproc)
kmake := $(MAKE) -C $(obj) LLVM=1 ARCH=arm64 $(jobs)
kmake-modular = $(MAKE) -C $(source) O=$(obj)-modular LLVM=1 ARCH=arm64 $(jobs)
kmake-peers = $(MAKE) -C $(source) O=$(obj)-peers LLVM=1 ARCH=arm64 $(jobs)
# How many lines a kernel build prints, about.
lines := $(if $(filter debug,$(VARIANT)),2600,1900)

driver-files := $(shell find Kbuild drivers tests/kunit tests/crash_test tests/data -type f \
		! -name '*.md' ! -name '*.svg')

# Small kernels, each with one thing that other kernels do not have. Firmware is not for them, nor
# the native driver for most.
small := $(filter kcsan novt rt cfi modules 16k 64k,$(VARIANT))
configs := $(if $(small),tests/small.config,samples/virtgpu_bridge.config tests/test.config) \
	   $(if $(filter debug,$(VARIANT)),,tests/panic.config) $(VARIANT:%=tests/%.config)

$(build)/linux-%/Makefile: | tests/kernel-source
	@tests/kernel-source $* $(build)/linux-$*

# The crate that Kbuild compiles with the driver, as the registry has it.
bitflags-version := $(shell sed -n 's/^bitflags = "=\(.*\)"/\1/p' tests/host/Cargo.toml)
bitflags := $(build)/bitflags-$(bitflags-version)
$(bitflags)/src/lib.rs:
	@echo '== fetching crates'
	@cargo fetch $(filter-out --target-dir $(build)/target,$(cargo-flags)) >/dev/null
	@rm -rf $(bitflags) && mkdir -p $(build)
	@set -- $${CARGO_HOME:-$$HOME/.cargo}/registry/src/*/bitflags-$(bitflags-version) && \
		cp -r "$$1" $(bitflags)
	@touch $@

.PHONY: grafted
grafted: $(source)/Makefile $(bitflags)/src/lib.rs
	@tests/graft $(source) $(bitflags)

# A configuration, first without the driver.
$(obj)/.stamp-config: $(configs) $(source)/Makefile | grafted
	@mkdir -p $(obj)
	@$(MAKE) -s -C $(source) O=$(obj) LLVM=1 ARCH=arm64 rustavailable tinyconfig
	@$(source)/scripts/kconfig/merge_config.sh -m -O $(obj) $(obj)/.config $(configs) \
		>$(obj)/merge.log
	@$(source)/scripts/config --file $(obj)/.config -d VIRTGPU_BRIDGE
	@$(kmake) -s olddefconfig
	@lost=; for line in $$(cat $(configs) | grep -v VIRTGPU_BRIDGE | \
			awk -F= '/^CONFIG_/ { last[$$1] = $$0 } END { for (name in last) print last[name] }'); do \
		grep -q "^$$line$$" $(obj)/.config || lost="$$lost $$line"; done; \
		[ -z "$$lost" ] || { echo "kernel $(name) cannot have:$$lost"; exit 1; }
	@touch $@

# The same kernel without the driver: a peer, and the one that loads the module.
$(build)/Image-plain-$(name): $(obj)/.stamp-config
	@$(obj)/source/scripts/config --file $(obj)/.config -d VIRTGPU_BRIDGE
	@$(kmake) -s olddefconfig
	@tests/progress $(log)/plain-image-$(name).log 'kernel $(name) without the driver' $(lines) \
		$(kmake) Image modules
	@cp $(obj)/arch/arm64/boot/Image $@

$(build)/Image-$(name): $(build)/Image-plain-$(name) $(driver-files) | grafted
	@$(obj)/source/scripts/config --file $(obj)/.config -e VIRTGPU_BRIDGE \
		-e VIRTGPU_BRIDGE_KMS -e VIRTGPU_BRIDGE_KUNIT_TEST -e VIRTGPU_BRIDGE_CRASH_TEST
	@$(kmake) -s olddefconfig
	@tests/progress $(log)/image-$(name).log 'kernel $(name) with the driver' 100 $(kmake) Image
	@cp $(obj)/arch/arm64/boot/Image $@

# The same without the tests in it, and as distributions have it: with DRM and the native driver as
# modules, and an fbcon that does not take over before there is text. A copy of the build tree saves
# turning it back and forth.
native := drm virtio_dma_buf drm_kms_helper drm_client_lib drm_shmem_helper virtio-gpu \
	  virtgpu_bridge_kms
$(build)/Image-modular-$(name): $(build)/Image-$(name)
	@[ ! $(obj)/.stamp-config -nt $(obj)-modular/.stamp-config ] || \
		{ rm -rf $(obj)-modular && cp -a $(obj) $(obj)-modular; }
	@$(obj)/source/scripts/config --file $(obj)-modular/.config -e VIRTGPU_BRIDGE -m VIRTGPU_BRIDGE_KMS \
		-d VIRTGPU_BRIDGE_KUNIT_TEST -d VIRTGPU_BRIDGE_CRASH_TEST -m DRM -m DRM_VIRTIO_GPU \
		-e FRAMEBUFFER_CONSOLE_DEFERRED_TAKEOVER
	@$(kmake-modular) -s olddefconfig
	@tests/progress $(log)/modular-image-$(name).log 'kernel $(name) with native modules' 250 \
		$(kmake-modular) Image modules
	@mkdir -p $(build)/native-$(name) && rm -f $(build)/native-$(name)/*
	@for module in $(native); do find $(obj)-modular -name $$module.ko \
		-exec cp {} $(build)/native-$(name) ';'; done
	@cp $(obj)-modular/arch/arm64/boot/Image $@

# Other peers, of the same kernel without the driver.
$(build)/Image-peers-$(name): $(build)/Image-$(name) tests/peers.config
	@[ ! $(obj)/.stamp-config -nt $(obj)-peers/.stamp-config ] || \
		{ rm -rf $(obj)-peers && cp -a $(obj) $(obj)-peers; }
	@cd $(obj)-peers && $(source)/scripts/kconfig/merge_config.sh -m .config $(CURDIR)/tests/peers.config \
		>merge.log
	@$(kmake-peers) -s olddefconfig
	@tests/progress $(log)/peers-image-$(name).log 'kernel $(name) with peers' 250 $(kmake-peers) Image
	@cp $(obj)-peers/arch/arm64/boot/Image $@

plain-image: $(build)/Image-plain-$(name)

image: $(build)/Image-$(name)
	@ln -sf Image-$(name) $(build)/Image
	@echo 'build/Image -> build/Image-$(name)'
