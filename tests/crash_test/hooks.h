/* SPDX-License-Identifier: GPL-2.0 */
/* Interface of hooks.c and mod.rs. */
#ifndef VIRTGPU_BRIDGE_TEST_HOOKS_H
#define VIRTGPU_BRIDGE_TEST_HOOKS_H

#include <linux/types.h>

/* Functions of threads. */
enum virtgpu_bridge_test_thread {
	VIRTGPU_BRIDGE_TEST_HOLD,
	VIRTGPU_BRIDGE_TEST_STALL,
	VIRTGPU_BRIDGE_TEST_VANISH,
};

/* Defined in hooks.c. */
void virtgpu_bridge_test_panic(void);
void virtgpu_bridge_test_softirq(bool panics);
void virtgpu_bridge_test_hardirq(bool panics);
void virtgpu_bridge_test_nmi(bool panics);
void virtgpu_bridge_test_thread(enum virtgpu_bridge_test_thread function, unsigned long seconds);

/* Defined in mod.rs. */
int virtgpu_bridge_test_request(const char *request);
void virtgpu_bridge_test_at_pci(void);
bool virtgpu_bridge_test_at_bind(void);

#endif
