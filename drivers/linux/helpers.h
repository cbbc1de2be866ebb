/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can say: macros and inline functions of the kernel, for Rust to call. */
#ifndef VIRTGPU_BRIDGE_HELPERS_H
#define VIRTGPU_BRIDGE_HELPERS_H

#include <linux/types.h>

struct device;
struct earlycon_device;
struct pci_dev;

void virtgpu_dma_wmb(void);
void virtgpu_dma_rmb(void);
void virtgpu_dma_mb(void);
u64 virtgpu_counter(void);
u32 virtgpu_counter_hz(void);
const char *virtgpu_scroll(void);

#ifdef MODULE
bool virtgpu_behind_iommu(struct device *dev);
#endif

#if !defined(MODULE) || defined(__BINDGEN__)
phys_addr_t virtgpu_image_address(const void *at);
void __iomem *virtgpu_map_page(phys_addr_t address);
void virtgpu_unmap_page(void);

/* Called from C: the Rust ends of what macros in helpers.c register. */
int virtgpu_bridge_earlycon_setup(struct earlycon_device *device, const char *options);
int virtgpu_bridge_watch(void);
void virtgpu_bridge_pci_early(struct pci_dev *dev);
void virtgpu_bridge_pci_final(struct pci_dev *dev);
#endif

#endif
