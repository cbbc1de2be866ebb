# SPDX-License-Identifier: GPL-2.0
#
# The tests in virtual machines.

vm := $(build)/target/debug/vm
# The same build makes this one, and `stack`, which tests/style runs.
bench-program := $(build)/target/debug/bench

$(vm): $(shell find tests/vm -name '*.rs' -o -name Cargo.toml -o -path '*/initramfs/*') tests/Cargo.lock \
	tests/guest-kms/src/pattern.rs
	@tests/progress $(log)/vm-build.log 'building the VM tests' 60 \
		cargo build $(cargo-flags) -p vm
	@touch $@

# What each program is told of a guest.
guest := --image $(build)/Image-$(name) --fonts $(source)

run: image $(vm) $(sample)
	@$(vm) run $(guest) --out build/run $(if $(DISPLAY_WINDOW),--window)

kunit: image $(vm)
	@$(vm) kunit --image $(build)/Image-$(name) --out build/kunit-$(name) \
		--kunit-py $(source)/tools/testing/kunit/kunit.py | tee $(log)/kunit-$(name).log

# A small kernel has no native modules: one image and its configuration are for all.
modular := $(if $(small),$(build)/Image-$(name),$(build)/Image-modular-$(name))
modular-obj := $(if $(small),$(obj),$(obj)-modular)
# Which cases the kernel runs: what they need is matched with its configuration.
choice := --config $(obj)/.config --modular-config $(modular-obj)/.config --kernel $(name) \
	  $(if $(LONG),--long) $(if $(ONLY),--only $(ONLY)) $(if $(SKIP),--skip $(SKIP))
# Modules for the guest: all of a kernel with virtio as modules; else ours and the native driver's.
ifneq ($(filter modules,$(VARIANT)),)
guest-modules = $$(find $(obj) -name '*.ko' -printf '--module %p ')
else ifeq ($(small),)
guest-modules = $$(printf -- '--plain-module %s ' $(build)/module-$(name)/drivers/*.ko) \
		$$(printf -- '--module %s ' $(build)/native-$(name)/*.ko)
endif

vm-test: image $(modular) handoff $(if $(small),,modules $(debian) $(systemd-boot) $(session)) $(kms) $(vm) $(sample)
	@$(vm) test $(guest) --plain-image $(build)/Image-plain-$(name) --modular-image $(modular) \
		$(guest-modules) --program $(kms) --handoff $(efi) $(if $(small),,--debian $(dir $(debian)) --session $(session)) \
		$(choice) --out build/vm-$(name) | tee $(log)/vm-test-$(name).log

# Of a kernel that was built for vm-test.
vm-list: $(vm)
	@$(vm) list $(choice)

survey: image $(vm)
	@$(vm) survey $(guest) --out build/survey
