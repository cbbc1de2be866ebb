/* SPDX-License-Identifier: GPL-2.0 */
/* Helpers for macros and inline functions of the kernel that Rust cannot call. */
#ifndef VIRTGPU_BRIDGE_HELPERS_H
#define VIRTGPU_BRIDGE_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>

struct device;
struct earlycon_device;
struct notifier_block;
struct pci_dev;
struct platform_driver;
struct virtgpu_bridge_kms_area;
struct virtgpu_bridge_kms_ops;

void virtgpu_bridge_dma_wmb(void);
void virtgpu_bridge_dma_rmb(void);
void virtgpu_bridge_dma_mb(void);
u64 virtgpu_bridge_counter(void);
u32 virtgpu_bridge_counter_hz(void);
const char *virtgpu_bridge_scroll(void);

unsigned long virtgpu_bridge_context(void);
bool virtgpu_bridge_behind_iommu(struct device *dev);
bool virtgpu_bridge_is_only_cpu(void);

/* The mutexes, named after the state that they guard; see mutex.rs. */
enum virtgpu_bridge_mutex {
	VIRTGPU_BRIDGE_MUTEX_CONSOLE,
	VIRTGPU_BRIDGE_MUTEX_PROBE,
	VIRTGPU_BRIDGE_MUTEX_DEVICE,
	VIRTGPU_BRIDGE_MUTEX_KMS,
	VIRTGPU_BRIDGE_MUTEX_FRAMEBUFFER,
};

void virtgpu_bridge_lock(enum virtgpu_bridge_mutex which);
void virtgpu_bridge_unlock(enum virtgpu_bridge_mutex which);
void virtgpu_bridge_poll_device_later(void);
void virtgpu_bridge_update_framebuffer_later(void);

/* Rust functions that hooks.c calls. */
void rust_virtgpu_bridge_poll_device(void);
void rust_virtgpu_bridge_update_framebuffer(void);
void rust_virtgpu_bridge_kms_register(const struct virtgpu_bridge_kms_ops *ops);
void rust_virtgpu_bridge_kms_unregister(void);
void rust_virtgpu_bridge_kms_size(unsigned int *width, unsigned int *height);
size_t rust_virtgpu_bridge_kms_edid(void *memory, size_t length);
void rust_virtgpu_bridge_kms_set_active(bool active);
void rust_virtgpu_bridge_kms_set_master(bool has_master);
void rust_virtgpu_bridge_kms_set_console(bool has_console);
void rust_virtgpu_bridge_kms_draw(const struct virtgpu_bridge_kms_area *area);

#if defined(MODULE) || defined(__BINDGEN__)
bool virtgpu_bridge_driver_name(struct device *dev, char *name, size_t size);
void virtgpu_bridge_stop_polling_device(void);
void virtgpu_bridge_finish_framebuffer_update(void);
#endif

#if !defined(MODULE) || defined(__BINDGEN__)
/*
 * In kernel/printk/printk.c: true while the machine suspends. No function returns it.
 */
extern bool console_irqwork_blocked;

/*
 * In drivers/pci/access.c: held for each access to configuration space. A panic has to know whether
 * it is free, which no function returns.
 */
extern raw_spinlock_t pci_lock;

phys_addr_t virtgpu_bridge_image_address(const void *at);
void __iomem *virtgpu_bridge_map_page(phys_addr_t address);
void virtgpu_bridge_unmap_page(void);

const char *virtgpu_bridge_handover(void);
const char *virtgpu_bridge_framebuffer(void);
bool virtgpu_bridge_kexec_in_progress(void);
void virtgpu_bridge_set_master(struct pci_dev *dev);
int virtgpu_bridge_pci_domain(struct pci_dev *dev);
void virtgpu_bridge_remove_framebuffers(struct pci_dev *dev);
bool virtgpu_bridge_memory_is_private(void);
unsigned int virtgpu_bridge_address_bits(void);
void virtgpu_bridge_lock_thread(void);
void virtgpu_bridge_unlock_thread(void);
int virtgpu_bridge_watch_modules(struct notifier_block *nb);
int virtgpu_bridge_register_platform_driver(struct platform_driver *driver);
void virtgpu_bridge_keeps_picture(struct device *dev, bool keeps);
bool virtgpu_bridge_finish_probe(struct device *dev);
void virtgpu_bridge_handover_later(void);
void virtgpu_bridge_finish_handover(void);
bool virtgpu_bridge_schedules(void);
bool virtgpu_bridge_is_running(void);
void virtgpu_bridge_show_frame_later(void);
void virtgpu_bridge_blink_later(unsigned int milliseconds);
void virtgpu_bridge_check_tty_later(void);
void virtgpu_bridge_start_kms_later(void);

/* Rust functions that hooks.c calls or registers. */
int rust_virtgpu_bridge_earlycon_setup(struct earlycon_device *device, const char *options);
int rust_virtgpu_bridge_arch_init(void);
void rust_virtgpu_bridge_pci_fixup(struct pci_dev *dev);
int rust_virtgpu_bridge_console_init(void);
int rust_virtgpu_bridge_late_init(void);
void rust_virtgpu_bridge_handover(void);
void rust_virtgpu_bridge_show_frame(void);
void rust_virtgpu_bridge_blink(void);
void rust_virtgpu_bridge_check_tty(void);
void rust_virtgpu_bridge_start_kms(void);
#endif

#endif
