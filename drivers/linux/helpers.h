/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can say: macros and inline functions of the kernel, for Rust to call. */
#ifndef VIRTGPU_BRIDGE_HELPERS_H
#define VIRTGPU_BRIDGE_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>

struct device;
struct earlycon_device;
struct notifier_block;
struct pci_dev;
struct platform_driver;

void virtgpu_dma_wmb(void);
void virtgpu_dma_rmb(void);
void virtgpu_dma_mb(void);
u64 virtgpu_counter(void);
u32 virtgpu_counter_hz(void);
const char *virtgpu_scroll(void);

unsigned long virtgpu_context(void);
bool virtgpu_behind_iommu(struct device *dev);

#if defined(MODULE) || defined(__BINDGEN__)
bool virtgpu_driver_name(struct device *dev, char *name, size_t size);
#endif

#if !defined(MODULE) || defined(__BINDGEN__)
/* Of kernel/printk/printk.c: whether the machine falls asleep. */
extern bool console_irqwork_blocked;

/* Of drivers/pci/access.c: it is held wherever configuration space is accessed. */
extern raw_spinlock_t pci_lock;

/* By what they guard: see mutex.rs. */
enum virtgpu_mutex {
	VIRTGPU_MUTEX_CONSOLE,
	VIRTGPU_MUTEX_PROBE,
	VIRTGPU_MUTEX_HOLDER,
};

phys_addr_t virtgpu_image_address(const void *at);
void __iomem *virtgpu_map_page(phys_addr_t address);
void virtgpu_unmap_page(void);

const char *virtgpu_handover(void);
bool virtgpu_kexec_in_progress(void);
void virtgpu_lock(enum virtgpu_mutex which);
void virtgpu_unlock(enum virtgpu_mutex which);
void virtgpu_set_master(struct pci_dev *dev);
int virtgpu_pci_domain(struct pci_dev *dev);
void virtgpu_remove_framebuffers(struct pci_dev *dev);
bool virtgpu_alone(void);
bool virtgpu_memory_is_private(void);
unsigned int virtgpu_address_bits(void);
void virtgpu_lock_screen(void);
void virtgpu_unlock_screen(void);
void virtgpu_watch_modules(struct notifier_block *nb);
int virtgpu_register_platform_driver(struct platform_driver *driver);
void virtgpu_keeps_its_picture(struct device *dev, bool keeps);
bool virtgpu_finish_probe(struct device *dev);
void virtgpu_settle_later(void);
void virtgpu_settle_now(void);
void virtgpu_follow_later(void);
bool virtgpu_schedules(void);
void virtgpu_wake_later(void);
void virtgpu_blink_later(unsigned int milliseconds);
void virtgpu_look_later(void);

/* Called from C: the Rust ends of what macros in helpers.c register. */
int virtgpu_bridge_earlycon_setup(struct earlycon_device *device, const char *options);
int virtgpu_bridge_watch(void);
void virtgpu_bridge_pci_early(struct pci_dev *dev);
int virtgpu_bridge_console(void);
int virtgpu_bridge_native(void);
void virtgpu_bridge_settle(void);
void virtgpu_bridge_follow(void);
void virtgpu_bridge_wake(void);
void virtgpu_bridge_blink(void);
void virtgpu_bridge_look(void);
#endif

#endif
