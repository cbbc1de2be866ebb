# SPDX-License-Identifier: GPL-2.0
#
# The UEFI driver.

efi := $(build)/handoff

# The UEFI driver and the boot loader of its tests: on Rust's core, for each machine that firmware
# has.
uefi-files := $(shell find drivers/uefi tests/uefi drivers/virtio drivers/gpu drivers/firmware \
		drivers/pci -name '*.rs' -o -name 'Cargo.*')
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
