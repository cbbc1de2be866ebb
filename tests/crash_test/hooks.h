/* SPDX-License-Identifier: GPL-2.0 */
/* Between hooks.c and mod.rs. */
#ifndef VIRTGPU_BRIDGE_TEST_HOOKS_H
#define VIRTGPU_BRIDGE_TEST_HOOKS_H

#include <linux/types.h>

/* What threads do. */
enum virtgpu_bridge_test_thread {
	VIRTGPU_BRIDGE_TEST_HOLD,
	VIRTGPU_BRIDGE_TEST_STALL,
	VIRTGPU_BRIDGE_TEST_VANISH,
};

/* For Rust. */
void virtgpu_bridge_test_panic(void);
void virtgpu_bridge_test_softirq(bool panics);
void virtgpu_bridge_test_hardirq(bool panics);
void virtgpu_bridge_test_nmi(bool panics);
void virtgpu_bridge_test_thread(enum virtgpu_bridge_test_thread what, unsigned long seconds);

/* For C. */
int virtgpu_bridge_test_way(const char *way);
void virtgpu_bridge_test_at_pci(void);
bool virtgpu_bridge_test_at_bind(void);

#endif
