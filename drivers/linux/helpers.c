// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for macros and inline functions of the kernel that Rust cannot call, and objects that
 * only macros of C can initialise at compile time. No logic.
 */
#include <linux/aperture.h>
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/iommu-dma.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/platform_device.h>
#include <linux/preempt.h>
#include <linux/sched.h>

#include <asm/arch_timer.h>
#include <asm/barrier.h>
#include <asm/fixmap.h>

#include "helpers.h"

static char *scroll = "auto";
module_param(scroll, charp, 0444);
MODULE_PARM_DESC(scroll, "How the screen scrolls: pan, repaint or auto");

const char *virtgpu_bridge_scroll(void)
{
	return scroll;
}

void virtgpu_bridge_dma_wmb(void)
{
	dma_wmb();
}

void virtgpu_bridge_dma_rmb(void)
{
	dma_rmb();
}

void virtgpu_bridge_dma_mb(void)
{
	dma_mb();
}

u64 virtgpu_bridge_counter(void)
{
	return __arch_counter_get_cntvct();
}

u32 virtgpu_bridge_counter_hz(void)
{
	return arch_timer_get_cntfrq();
}

unsigned long virtgpu_bridge_context(void)
{
	unsigned long level = in_nmi() ? 3 : in_hardirq() ? 2 : in_serving_softirq() ? 1 : 0;

	return (unsigned long)current | level;
}

bool virtgpu_bridge_behind_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}

static struct mutex mutexes[] = {
	[VIRTGPU_BRIDGE_MUTEX_CONSOLE] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_BRIDGE_MUTEX_CONSOLE]),
	[VIRTGPU_BRIDGE_MUTEX_PROBE] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_BRIDGE_MUTEX_PROBE]),
	[VIRTGPU_BRIDGE_MUTEX_DEVICE] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_BRIDGE_MUTEX_DEVICE]),
	[VIRTGPU_BRIDGE_MUTEX_KMS] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_BRIDGE_MUTEX_KMS]),
	[VIRTGPU_BRIDGE_MUTEX_FRAMEBUFFER] =
		__MUTEX_INITIALIZER(mutexes[VIRTGPU_BRIDGE_MUTEX_FRAMEBUFFER]),
};

void virtgpu_bridge_lock(enum virtgpu_bridge_mutex which)
{
	mutex_lock(&mutexes[which]);
}

void virtgpu_bridge_unlock(enum virtgpu_bridge_mutex which)
{
	mutex_unlock(&mutexes[which]);
}

/*
 * Returns whether no other CPU is online. A panic stops CPUs and sets them offline, even this one.
 */
bool virtgpu_bridge_is_only_cpu(void)
{
	return cpumask_any_but(cpu_online_mask, raw_smp_processor_id()) >= nr_cpu_ids;
}

#ifdef MODULE
/*
 * Copies the name of the driver that has the device to name. Returns whether the device has a
 * driver. Another one may take the device right after.
 */
bool virtgpu_bridge_driver_name(struct device *dev, char *name, size_t size)
{
	bool bound;

	device_lock(dev);
	bound = dev->driver;
	if (bound)
		strscpy(name, dev->driver->name, size);
	device_unlock(dev);
	return bound;
}
#endif

#ifndef MODULE
static char *handover = "auto";
module_param(handover, charp, 0444);
MODULE_PARM_DESC(handover, "When the native driver gets the device: auto or never");

const char *virtgpu_bridge_handover(void)
{
	return handover;
}

static char *framebuffer = "auto";
module_param(framebuffer, charp, 0444);
MODULE_PARM_DESC(framebuffer, "When there is a KMS device: auto, always or never");

const char *virtgpu_bridge_framebuffer(void)
{
	return framebuffer;
}

/* For modinfo and sysfs. The driver parses this parameter before the kernel parses parameters. */
static char *picture = "clear";
module_param(picture, charp, 0444);
MODULE_PARM_DESC(picture, "What text does to firmware's picture: clear it, or keep it where there is none");

/* For modinfo and sysfs, as above. */
static char *console = "auto";
module_param(console, charp, 0444);
MODULE_PARM_DESC(console, "Whether the log is on the screen where nobody says so: auto or never");

/*
 * Sets Bus Master Enable in a panic. Does nothing if the lock of configuration space is held, since
 * its owner may be stopped.
 */
void virtgpu_bridge_set_master(struct pci_dev *dev)
{
	if (!raw_spin_is_locked(&pci_lock))
		pci_set_master(dev);
}

unsigned int virtgpu_bridge_address_bits(void)
{
	return PHYS_MASK_SHIFT;
}

/* Returns whether devices can access only the memory that the DMA API shares with them. */
bool virtgpu_bridge_memory_is_private(void)
{
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

int virtgpu_bridge_pci_domain(struct pci_dev *dev)
{
	return pci_domain_nr(dev->bus);
}

static DEFINE_MUTEX(thread_lock);

void virtgpu_bridge_lock_thread(void)
{
	mutex_lock(&thread_lock);
	/* The printk core requires this of a console's device_lock(). */
	migrate_disable();
}

void virtgpu_bridge_unlock_thread(void)
{
	migrate_enable();
	mutex_unlock(&thread_lock);
}

bool virtgpu_bridge_kexec_in_progress(void)
{
	return kexec_in_progress;
}

int virtgpu_bridge_watch_modules(struct notifier_block *nb)
{
	return register_module_notifier(nb);
}

int virtgpu_bridge_register_platform_driver(struct platform_driver *driver)
{
	return platform_driver_register(driver);
}

/*
 * Tells the PM core whether the device keeps its picture during sleep. By default the PM core
 * switches to another virtual terminal before the system sleeps.
 */
void virtgpu_bridge_keeps_picture(struct device *dev, bool keeps)
{
	if (keeps)
		pm_vt_switch_required(dev, false);
	else
		pm_vt_switch_unregister(dev);
}

/* Removes the driver of the framebuffer that firmware has left in a BAR of the device. */
void virtgpu_bridge_remove_framebuffers(struct pci_dev *dev)
{
	aperture_remove_conflicting_pci_devices(dev, KBUILD_MODNAME);
}

/*
 * Waits until a probe of the device has ended. An asynchronous probe that has not begun is done
 * here instead; the driver core finds the device bound later. The function does not wait for
 * anything else that is asynchronous, which may take long, or wait for this driver. Returns
 * whether the device has a driver.
 */
bool virtgpu_bridge_finish_probe(struct device *dev)
{
	bool bound, tried;

	/* The probe has succeeded. The driver may already be unloading, so do not lock. */
	if (device_is_bound(dev))
		return true;
	device_lock(dev);
	bound = device_is_bound(dev);
	tried = dev_can_match(dev);
	device_unlock(dev);
	/* Do not probe again if a driver has refused the device. */
	return bound || (!tried && device_attach(dev) == 1);
}

/* Returns whether work items run: there are threads, and the machine neither sleeps nor stops. */
bool virtgpu_bridge_schedules(void)
{
	return system_state > SYSTEM_BOOTING && system_state <= SYSTEM_RUNNING;
}

bool virtgpu_bridge_is_running(void)
{
	return system_state == SYSTEM_RUNNING;
}

phys_addr_t virtgpu_bridge_image_address(const void *at)
{
	return __pa_symbol(at);
}

void __iomem *virtgpu_bridge_map_page(phys_addr_t address)
{
	/* Break before make: clear_fixmap() flushes the TLB, set_fixmap_io() does not. */
	clear_fixmap(FIX_EARLYCON_MEM_BASE);
	set_fixmap_io(FIX_EARLYCON_MEM_BASE, address & PAGE_MASK);
	return (void __iomem *)__fix_to_virt(FIX_EARLYCON_MEM_BASE) + (address & ~PAGE_MASK);
}

void virtgpu_bridge_unmap_page(void)
{
	clear_fixmap(FIX_EARLYCON_MEM_BASE);
}
#endif
