// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can say: macros and inline functions of the kernel, for Rust to call, and the tables
 * that the kernel fills by macro. No logic.
 */
#include <linux/dma-mapping.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/serial_core.h>

#include <asm/arch_timer.h>
#include <asm/barrier.h>
#include <asm/fixmap.h>

#include "helpers.h"

static char *scroll = "auto";
module_param(scroll, charp, 0444);
MODULE_PARM_DESC(scroll, "How the screen scrolls: pan, repaint or auto");

const char *virtgpu_scroll(void)
{
	return scroll;
}

void virtgpu_dma_wmb(void)
{
	dma_wmb();
}

void virtgpu_dma_rmb(void)
{
	dma_rmb();
}

void virtgpu_dma_mb(void)
{
	dma_mb();
}

u64 virtgpu_counter(void)
{
	return __arch_counter_get_cntvct();
}

u32 virtgpu_counter_hz(void)
{
	return arch_timer_get_cntfrq();
}

#ifdef MODULE
bool virtgpu_behind_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}
#else
phys_addr_t virtgpu_image_address(const void *at)
{
	return __pa_symbol(at);
}

void __iomem *virtgpu_map_page(phys_addr_t address)
{
	/* Clearing flushes the TLB, which setting does not: break before make. */
	clear_fixmap(FIX_EARLYCON_MEM_BASE);
	set_fixmap_io(FIX_EARLYCON_MEM_BASE, address & PAGE_MASK);
	return (void __iomem *)__fix_to_virt(FIX_EARLYCON_MEM_BASE) + (address & ~PAGE_MASK);
}

void virtgpu_unmap_page(void)
{
	clear_fixmap(FIX_EARLYCON_MEM_BASE);
}

EARLYCON_DECLARE(virtgpu, virtgpu_bridge_earlycon_setup);
arch_initcall(virtgpu_bridge_watch);
DECLARE_PCI_FIXUP_EARLY(PCI_ANY_ID, PCI_ANY_ID, virtgpu_bridge_pci_early);
DECLARE_PCI_FIXUP_FINAL(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1050, virtgpu_bridge_pci_final);
#endif
