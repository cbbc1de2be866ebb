# SPDX-License-Identifier: GPL-2.0
#
# virtgpu_bridge: `make run` shows it, `make check` proves it, `make help` lists the rest.
# Kbuild's door is the file of that name.

# A pipe into tee keeps the exit status.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

# Which kernel: a version that Debian packages, or a source tree of one's own.
KVERSION ?= 7.3
KDIR ?=
# A configuration of its own: tests/debug.config, kcsan, novt, rt, cfi, modules, 16k or 64k.
VARIANT ?=
# Whether to work in the tool root (tests/toolroot): yes, no, or what tests/tools-pass finds.
TOOLROOT ?= auto
DISPLAY_WINDOW ?=

TARGETS := run check check-all image plain-image modules handoff graft ungraft kunit host-test \
	   fuzz mutants vm-test survey bench bench-check style fmt clippy

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
	@echo '  modules         build/virtgpu_bridge.ko (KDIR=: for the kernel built there)'
	@echo '  handoff         build/handoff/, the UEFI driver that keeps the screen lit until the kernel has it'
	@echo '  graft ungraft   put the driver into the kernel tree KDIR=, or take it out again'
	@echo '  kunit host-test vm-test bench-check style    parts of check (ONLY= picks VM cases by name)'
	@echo '  fuzz            another part: fuzz what reads foreign bytes (SECONDS=60 for each target, FUZZ=name,..)'
	@echo '  mutants         plant faults in the pure modules, and count those that the host tests notice (SEED=)'
	@echo '  survey          what other displays show of a kernel that dies'
	@echo '  fmt clippy      format the sources; lint them as the kernel does'
	@echo '  clean           remove build/'
	@echo 'Variables: KVERSION=7.2|7.3 (now $(KVERSION)), KDIR=kernel tree, DISPLAY_WINDOW=1, TOOLROOT=yes|no'

ifndef IN_TOOLROOT
ifeq ($(TOOLROOT),auto)
TOOLROOT := $(shell tests/tools-pass 2>/dev/null && echo no || echo yes)
endif
endif

ifeq ($(if $(IN_TOOLROOT),no,$(TOOLROOT)),yes)

# Everything again, inside the tool root.
$(TARGETS):
	@MAKEFLAGS= TOOLROOT_BIND="$(abspath $(KDIR))" tests/toolroot \
		make --no-print-directory $@ $(MAKEOVERRIDES)

clean:
	tests/toolroot --discard
	rm -rf build

else

build := $(CURDIR)/build
name := $(if $(KDIR),own,$(KVERSION))$(addprefix -,$(VARIANT))
source := $(if $(KDIR),$(abspath $(KDIR)),$(build)/linux-$(KVERSION))
obj := $(build)/obj-$(name)
log := $(build)/log
jobs := -j$(shell nproc)
comma := ,
kmake := $(MAKE) -C $(obj) LLVM=1 ARCH=arm64 $(jobs)
kmake-modular = $(MAKE) -C $(source) O=$(obj)-modular LLVM=1 ARCH=arm64 $(jobs)
kmake-peers = $(MAKE) -C $(source) O=$(obj)-peers LLVM=1 ARCH=arm64 $(jobs)
# What a kernel build prints, about.
lines := $(if $(filter debug,$(VARIANT)),2600,1900)

bitflags-version := $(shell sed -n 's/^bitflags = "=\(.*\)"/\1/p' tests/host/Cargo.toml)
bitflags := $(build)/bitflags-$(bitflags-version)
cargo-flags := --locked --manifest-path tests/Cargo.toml --target-dir $(build)/target
vm := $(build)/target/debug/vm
efi := $(build)/handoff
driver-files := $(shell find Kbuild drivers tests/kunit tests/dying tests/data -type f \
		! -name '*.md' ! -name '*.svg')
# Small kernels, each with one thing that other kernels do not have. Firmware is not for them, nor
# the native driver for most.
small := $(filter kcsan novt rt cfi modules 16k 64k,$(VARIANT))
configs := $(if $(small),tests/small.config,samples/virtgpu_bridge.config tests/test.config) \
	   $(if $(filter debug,$(VARIANT)),,tests/panic.config) $(VARIANT:%=tests/%.config)

$(build)/linux-%/Makefile: | tests/kernel-source
	@tests/kernel-source $* $(build)/linux-$*

# The crate that Kbuild compiles with the driver, as the registry has it.
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
		-e VIRTGPU_BRIDGE_KUNIT_TEST -e VIRTGPU_BRIDGE_DYING
	@$(kmake) -s olddefconfig
	@tests/progress $(log)/image-$(name).log 'kernel $(name) with the driver' 100 $(kmake) Image
	@cp $(obj)/arch/arm64/boot/Image $@

# The same without the tests in it, and as distributions have it: with the native driver as modules,
# and an fbcon that does not take over before there is text. A copy of the build tree saves turning
# it back and forth.
native := virtio_dma_buf drm_kms_helper drm_client_lib drm_shmem_helper virtio-gpu
$(build)/Image-modular-$(name): $(build)/Image-$(name)
	@[ ! $(obj)/.stamp-config -nt $(obj)-modular/.stamp-config ] || \
		{ rm -rf $(obj)-modular && cp -a $(obj) $(obj)-modular; }
	@$(obj)/source/scripts/config --file $(obj)-modular/.config -e VIRTGPU_BRIDGE \
		-d VIRTGPU_BRIDGE_KUNIT_TEST -d VIRTGPU_BRIDGE_DYING -m DRM_VIRTIO_GPU \
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

# With KDIR=, for a kernel that was built there or whose build tree that is.
module-kernel := $(if $(KDIR),$(source),$(obj))
$(build)/module-$(name)/drivers/virtgpu_bridge.ko: $(driver-files) $(bitflags)/src/lib.rs \
		$(if $(KDIR),,$(build)/Image-plain-$(name))
	@tests/progress $(log)/module-$(name).log 'module for kernel $(name)' 15 \
		$(MAKE) -C $(module-kernel) LLVM=1 ARCH=arm64 M=$(CURDIR) MO=$(build)/module-$(name) \
		BITFLAGS=$(bitflags) modules
	@touch $@

modules: $(build)/module-$(name)/drivers/virtgpu_bridge.ko
	@cp $< $(build)/virtgpu_bridge.ko
	@echo 'build/virtgpu_bridge.ko'

graft: $(bitflags)/src/lib.rs
	@tests/graft $(or $(KDIR),$(error graft needs KDIR=, a kernel source tree)) $(bitflags)

ungraft:
	@tests/graft --undo $(or $(KDIR),$(error ungraft needs KDIR=, a kernel source tree))

$(vm): $(shell find tests/vm -name '*.rs' -o -name Cargo.toml -o -path '*/initramfs/*') tests/Cargo.lock
	@tests/progress $(log)/vm-build.log 'building the VM test tool' 60 \
		cargo build $(cargo-flags) -p vm
	@touch $@

# What a guest runs: Debian's own packages for arm64, only unpacked, and the sample made of them.
guest-root := $(build)/debian-arm64
sample := $(build)/debian.cpio
$(sample): $(wildcard samples/initramfs/*)
	@tests/progress $(log)/debian.log 'unpacking the arm64 userland' 20 \
		samples/initramfs/build $@ $(guest-root)

# Debian's own initramfs, made by its mkinitramfs on the kernel that there is, and a disk that it
# opens.
debian := $(build)/debian-initramfs/initramfs
$(debian): tests/debian-initramfs tests/vm/initramfs/mkinitramfs | $(build)/Image-$(name)
	@tests/progress $(log)/debian-initramfs.log "Debian's mkinitramfs, in a virtual machine" 10 \
		tests/debian-initramfs $(build)/Image-$(name) $(dir $@)

# Boot loaders, of Debian's too.
loaders := $(build)/loaders-arm64
systemd-boot := $(loaders)/usr/lib/systemd/boot/efi/systemd-bootaa64.efi
$(systemd-boot):
	@rm -rf $(loaders)
	@tests/progress $(log)/loaders.log 'unpacking boot loaders' 20 mmdebstrap --variant=extract \
		--mode=$$([ "$$(id -u)" = 0 ] && echo root || echo auto) --architectures=arm64 \
		--include=grub-efi-arm64-bin,systemd-boot-efi trixie $(loaders)
	@touch $@

guest := --image $(build)/Image-$(name) --fonts $(source)

run: image $(vm) $(sample)
	@$(vm) run $(guest) --out build/run $(if $(DISPLAY_WINDOW),--window)

host-test: $(bitflags)/src/lib.rs
	@tests/progress $(log)/host-test.log 'host tests' 250 cargo test $(cargo-flags)
	@$(cargo-results)
cargo-results = grep -h '^test result' $(log)/host-test.log

# One fault at a time, of those that SEED names, in a copy of the sources below build/.
mutants:
	@mkdir -p $(log)
	@tests/progress $(log)/mutants-build.log 'building what plants faults' 40 \
		cargo build $(cargo-flags) -p mutants
	@$(build)/target/debug/mutants $(addprefix --seed ,$(SEED)) $(if $(ONLY),--only '$(ONLY)') \
		| tee $(log)/mutants.log

# The fuzzer: libFuzzer, and the coverage that it wants of our own code. Not of what cargo runs to
# build it, which is why the machine is named.
fuzz-flags := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
# Seconds for each target, and which ones: all if none is named.
SECONDS := 60
FUZZ :=
fuzz:
	@machine=$$(rustc -vV | sed -n 's/^host: //p') && \
	RUSTFLAGS='$(fuzz-flags)' tests/progress $(log)/fuzz-build.log 'building the fuzzer' 20 \
		cargo build --locked --release --manifest-path tests/fuzz/Cargo.toml \
		--target $$machine --target-dir $(build)/fuzz/target && { \
	tests/progress $(log)/fuzz.log 'fuzzing, $(SECONDS) s for each target' \
		$$(($(SECONDS) * 8 / 5 + 20)) tests/fuzz/run \
		$(build)/fuzz/target/$$machine/release/fuzz $(build)/fuzz $(SECONDS) \
		$(subst $(comma), ,$(FUZZ)); \
	status=$$?; grep -E '^(ok  |FAIL) |passed,' $(log)/fuzz.log; exit $$status; }

kunit: image $(vm)
	@$(vm) kunit --image $(build)/Image-$(name) --out build/kunit-$(name) \
		--kunit-py $(source)/tools/testing/kunit/kunit.py | tee $(log)/kunit-$(name).log

modular := $(if $(small),$(build)/Image-$(name),$(build)/Image-modular-$(name))
vm-test: image $(modular) $(if $(small),,modules) handoff $(systemd-boot) $(vm) $(sample) \
		$(if $(small),,$(debian))
	@$(vm) test $(guest) --handoff $(efi) --plain-image $(build)/Image-plain-$(name) --modular-image $(modular) \
		$(if $(filter modules,$(VARIANT)),$$(find $(obj) -name '*.ko' -printf '--module %p ')) \
		$(if $(small),,--module $(build)/module-$(name)/drivers/virtgpu_bridge.ko \
			$$(printf -- '--module %s ' $(build)/native-$(name)/*.ko) --debian $(dir $(debian))) \
		--config $(obj)/.config --modular-config $(if $(small),$(obj),$(obj)-modular)/.config \
		--kernel $(name) --out build/vm-$(name) $(if $(LONG),--long) \
		$(if $(ONLY),--only $(ONLY)) $(if $(SKIP),--skip $(SKIP)) \
		| tee $(log)/vm-test-$(name).log

survey: image $(vm)
	@$(vm) survey $(guest) --out build/survey

rust-files = $(shell git ls-files '*.rs')

fmt:
	@rustfmt --edition 2021 --config-path $(source)/.rustfmt.toml $(rust-files)

# As the kernel has it: rustfmt, clippy for both ways to build, checkpatch, no compiler warnings, a
# stack that suffices.
style: image modules $(vm)
	@tests/style $(source) $(module-kernel) $(bitflags) $(name) | tee $(log)/style-$(name).log

clippy: image
	@tests/style --clippy $(source) $(module-kernel) $(bitflags) $(name)

# What writes lines in the guest, on Rust's core alone.
writer := $(build)/guest/aarch64-unknown-none/release/writer
$(writer): tests/guest/Cargo.toml tests/guest/Cargo.lock tests/guest/src/main.rs
	@RUSTC_BOOTSTRAP=1 CARGO_TARGET_AARCH64_UNKNOWN_NONE_LINKER=ld.lld \
		tests/progress $(log)/writer.log 'building what writes in the guest' 12 \
		cargo build --locked --release -Zbuild-std=core,compiler_builtins \
		-Zbuild-std-features=compiler-builtins-mem --target aarch64-unknown-none \
		--manifest-path tests/guest/Cargo.toml --target-dir $(build)/guest
	@touch $@

# The firmware side, and the boot loader of its tests: on Rust's core, for each machine that
# firmware has.
uefi-files := $(shell find drivers/uefi tests/uefi drivers/virtio drivers/gpu drivers/firmware -name '*.rs' -o -name 'Cargo.*')
$(efi)/virtgpu_handoffaa64.efi: $(uefi-files)
	@mkdir -p $(efi)
	@set -e; for project in drivers/uefi tests/uefi; do for machine in aarch64:aa64 x86_64:x64; do \
		cpu=$${machine%:*}; \
		export RUSTC_BOOTSTRAP=1 CARGO_TARGET_$${cpu^^}_UNKNOWN_UEFI_LINKER=lld-link; \
		tests/progress $(log)/$${project%/*}-uefi-$$cpu.log "building $$project for $$cpu" 25 \
			cargo build --locked --release -Zbuild-std=core,compiler_builtins \
			-Zbuild-std-features=compiler-builtins-mem --target $$cpu-unknown-uefi \
			--manifest-path $$project/Cargo.toml --target-dir $(build)/uefi; \
		for file in $(build)/uefi/$$cpu-unknown-uefi/release/*.efi; do \
			name=$${file##*/}; cp $$file $(efi)/$${name%.efi}$${machine#*:}.efi; done; \
	done; done
	@touch $@

handoff: $(efi)/virtgpu_handoffaa64.efi
	@echo 'build/handoff/virtgpu_handoffaa64.efi' && echo 'build/handoff/virtgpu_handoffx64.efi'

# The driver's memory, less that of its tests.
bytes = $(shell llvm-nm -S $(obj)/drivers/video/virtgpu_bridge/drivers/virtgpu_bridge_crate.o | \
	perl -ane '$$sum += hex $$F[1] if @F == 4 && $$F[2] =~ /^[bd]$$/i && !/kunit/; END { print $$sum }')
novt := $(build)/Image-$(name)-novt
bench = $(build)/target/debug/bench $(guest) --plain-image $(build)/Image-plain-$(name) \
	--peers-image $(build)/Image-peers-$(name) --novt-image $(novt) --writer $(writer) \
	--memory $(bytes) --baseline tests/bench.json

# One machine at a time, as instructions do not depend on the load, but times do.
bench: image $(build)/Image-peers-$(name) $(vm) $(writer) $(sample)
	@$(MAKE) --no-print-directory $(novt) VARIANT=novt
	@$(bench) --out build/bench $(if $(BASELINE),--update) $(if $(ONLY),--only '$(ONLY)') \
		| tee $(log)/bench-$(name).log

# The shortest case alone, which wants no other kernel. The baseline is of this one.
bench-check: image $(vm) $(writer) $(sample)
	@$(bench) --short --out build/bench-check | tee $(log)/bench-check-$(name).log

# Each part runs, whatever became of the others, and the sum decides.
checks := host-test fuzz kunit style $(if $(filter 7.3,$(name)),bench-check) vm-test
of-no-kernel := host-test fuzz
parts := $(of-no-kernel:=.log) $(patsubst %,%-$(name).log,$(filter-out $(of-no-kernel),$(checks)))
check: $(vm)
	@rm -f $(addprefix $(log)/,$(parts))
	@for part in $(checks); do \
		$(MAKE) --no-print-directory $$part || :; done
	@$(vm) tally $(addprefix $(log)/,$(parts))

# The same on the other kernel, on one with all that complains, and on some that are built
# otherwise. First check itself.
more := mutants kunit-7.2 vm-test-7.2 style-7.2 kunit-7.3-debug vm-test-7.3-debug \
	$(foreach variant,kcsan novt rt cfi modules 16k 64k,kunit-7.3-$(variant) vm-test-7.3-$(variant))
check-all: $(source)/Makefile
	@rm -f $(patsubst %,$(log)/%.log,$(more))
	@$(MAKE) --no-print-directory check KVERSION=7.3 LONG=1 || :
	@$(MAKE) --no-print-directory mutants || :
	@for part in kunit style vm-test; do \
		$(MAKE) --no-print-directory $$part KVERSION=7.2 || :; done
	@for variant in debug kcsan novt rt cfi modules 16k 64k; do for part in kunit vm-test; do \
		$(MAKE) --no-print-directory $$part KVERSION=7.3 VARIANT=$$variant || :; done; done
	@$(vm) tally $(addprefix $(log)/,$(of-no-kernel:=.log) $(patsubst %,%-7.3.log,kunit vm-test bench-check style)) \
		$(patsubst %,$(log)/%.log,$(more))

clean:
	rm -rf build

endif
