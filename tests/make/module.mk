# SPDX-License-Identifier: GPL-2.0
#
# The driver as a module, and in a kernel tree.

# With KDIR=, for a kernel that was built there or whose build tree that is.
module-kernel := $(if $(KDIR),$(source),$(obj))
$(build)/module-$(name)/drivers/virtgpu_bridge.ko: $(driver-files) $(bitflags)/src/lib.rs \
		$(if $(KDIR),,$(build)/Image-plain-$(name))
	@tests/progress $(log)/module-$(name).log 'module for kernel $(name)' 15 \
		$(MAKE) -C $(module-kernel) LLVM=1 ARCH=arm64 M=$(CURDIR) MO=$(build)/module-$(name) \
		BITFLAGS=$(bitflags) modules
	@touch $@

modules: $(build)/module-$(name)/drivers/virtgpu_bridge.ko
	@rm -f $(build)/virtgpu_bridge_kms.ko
	@cp $(dir $<)*.ko $(build)
	@cd $(dir $<) && printf '$(build)/%s\n' *.ko

graft: $(bitflags)/src/lib.rs
	@tests/graft $(or $(KDIR),$(error graft needs KDIR=, a kernel source tree)) $(bitflags)

ungraft:
	@tests/graft --undo $(or $(KDIR),$(error ungraft needs KDIR=, a kernel source tree))
