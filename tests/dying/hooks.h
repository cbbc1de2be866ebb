/* SPDX-License-Identifier: GPL-2.0 */
/* Between hooks.c and mod.rs. */
#ifndef VIRTGPU_TEST_HOOKS_H
#define VIRTGPU_TEST_HOOKS_H

#include <linux/types.h>

/* For Rust. */
void virtgpu_test_panic(void);
void virtgpu_test_hold(unsigned int seconds);
void virtgpu_test_nmi(void);

/* For C. */
int virtgpu_test_way(const char *way);
void virtgpu_test_at_pci(void);
bool virtgpu_test_at_bind(void);

#endif
