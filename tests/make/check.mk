# SPDX-License-Identifier: GPL-2.0
#
# All tests, on one kernel and on all.

# Each part runs, whatever became of the others, and the sum decides.
checks := host-test fuzz kunit style $(if $(filter 7.3,$(name)),bench-check) vm-test
of-no-kernel := host-test fuzz
parts := $(of-no-kernel:=.log) $(patsubst %,%-$(name).log,$(filter-out $(of-no-kernel),$(checks)))
check: $(vm)
	@rm -f $(addprefix $(log)/,$(parts))
	@for part in $(checks); do \
		$(MAKE) $(again) $$part || :; done
	@$(vm) tally $(addprefix $(log)/,$(parts))

# The same on the other kernel, on one with all that complains, and on some that are built
# otherwise. First check itself.
more := mutants series-check-7.3 kunit-7.2 vm-test-7.2 style-7.2 kunit-7.3-debug vm-test-7.3-debug \
	$(foreach variant,kcsan novt rt cfi modules 16k 64k,kunit-7.3-$(variant) vm-test-7.3-$(variant))
check-all: $(source)/Makefile
	@rm -f $(patsubst %,$(log)/%.log,$(more))
	@$(MAKE) $(again) check KVERSION=7.3 LONG=1 || :
	@$(MAKE) $(again) mutants || :
	@$(MAKE) $(again) series-check KVERSION=7.3 || :
	@for part in kunit style vm-test; do \
		$(MAKE) $(again) $$part KVERSION=7.2 || :; done
	@for variant in debug kcsan novt rt cfi modules 16k 64k; do for part in kunit vm-test; do \
		$(MAKE) $(again) $$part KVERSION=7.3 VARIANT=$$variant || :; done; done
	@$(vm) tally $(addprefix $(log)/,$(of-no-kernel:=.log) $(patsubst %,%-7.3.log,kunit vm-test bench-check style)) \
		$(patsubst %,$(log)/%.log,$(more))
