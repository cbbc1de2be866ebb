/* SPDX-License-Identifier: GPL-2.0 */
/* Between hooks.c and mod.rs. */
#ifndef VIRTGPU_TEST_HOOKS_H
#define VIRTGPU_TEST_HOOKS_H

#include <linux/types.h>

/* What threads do. */
enum virtgpu_test_thread {
	VIRTGPU_TEST_HOLD,
	VIRTGPU_TEST_STALL,
	VIRTGPU_TEST_VANISH,
};

/* For Rust. */
void virtgpu_test_panic(void);
void virtgpu_test_softirq(bool panics);
void virtgpu_test_hardirq(bool panics);
void virtgpu_test_nmi(bool panics);
void virtgpu_test_thread(enum virtgpu_test_thread what, unsigned long seconds);

/* For C. */
int virtgpu_test_way(const char *way);
void virtgpu_test_at_pci(void);
bool virtgpu_test_at_bind(void);

#endif
