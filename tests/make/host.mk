# SPDX-License-Identifier: GPL-2.0
#
# Tests on the host: unit tests, planted faults and the fuzzer.

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
