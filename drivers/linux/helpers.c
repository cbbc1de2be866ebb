// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can say: macros and inline functions of the kernel, for Rust to call, and the tables
 * that the kernel fills by macro. No logic.
 */
#include <linux/aperture.h>
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/iommu-dma.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/serial_core.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

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

unsigned long virtgpu_context(void)
{
	unsigned long level = in_nmi() ? 3 : in_hardirq() ? 2 : in_serving_softirq() ? 1 : 0;

	return (unsigned long)current | level;
}

bool virtgpu_behind_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}

#ifdef MODULE
/* The name of the driver that has the device, if one has. Another may take it right after. */
bool virtgpu_driver_name(struct device *dev, char *name, size_t size)
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

const char *virtgpu_handover(void)
{
	return handover;
}

/* Read from the command line by hand, before there are parameters; here for who looks for it. */
static char *picture = "clear";
module_param(picture, charp, 0444);
MODULE_PARM_DESC(picture, "What text does to firmware's picture: clear it, or keep it where there is none");

/* As above. */
static char *console = "auto";
module_param(console, charp, 0444);
MODULE_PARM_DESC(console, "Whether the log is on the screen where nobody says so: auto or never");

static struct mutex mutexes[] = {
	[VIRTGPU_MUTEX_CONSOLE] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_MUTEX_CONSOLE]),
	[VIRTGPU_MUTEX_PROBE] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_MUTEX_PROBE]),
	[VIRTGPU_MUTEX_HOLDER] = __MUTEX_INITIALIZER(mutexes[VIRTGPU_MUTEX_HOLDER]),
};

void virtgpu_lock(enum virtgpu_mutex which)
{
	mutex_lock(&mutexes[which]);
}

void virtgpu_unlock(enum virtgpu_mutex which)
{
	mutex_unlock(&mutexes[which]);
}

/*
 * The device reaches memory again, if that can be said without waiting: whoever had the lock of
 * configuration space may be stopped.
 */
void virtgpu_set_master(struct pci_dev *dev)
{
	if (!raw_spin_is_locked(&pci_lock))
		pci_set_master(dev);
}

unsigned int virtgpu_address_bits(void)
{
	return PHYS_MASK_SHIFT;
}

/* Whether devices cannot reach the guest's memory, but for what the DMA API shares. */
bool virtgpu_memory_is_private(void)
{
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

int virtgpu_pci_domain(struct pci_dev *dev)
{
	return pci_domain_nr(dev->bus);
}

/* Whether no other CPU runs: a panic stops them, and takes them offline, as this one may be. */
bool virtgpu_alone(void)
{
	return cpumask_any_but(cpu_online_mask, raw_smp_processor_id()) >= nr_cpu_ids;
}

static DEFINE_MUTEX(screen_lock);

void virtgpu_lock_screen(void)
{
	mutex_lock(&screen_lock);
	/* As the printk core wants it of a console's device_lock(). */
	migrate_disable();
}

void virtgpu_unlock_screen(void)
{
	migrate_enable();
	mutex_unlock(&screen_lock);
}

bool virtgpu_kexec_in_progress(void)
{
	return kexec_in_progress;
}

void virtgpu_watch_modules(struct notifier_block *nb)
{
	register_module_notifier(nb);
}

int virtgpu_register_platform_driver(struct platform_driver *driver)
{
	return platform_driver_register(driver);
}

/* Without a promise the PM core switches to another virtual terminal before it sleeps. */
void virtgpu_keeps_its_picture(struct device *dev, bool keeps)
{
	if (keeps)
		pm_vt_switch_required(dev, false);
	else
		pm_vt_switch_unregister(dev);
}

/* Takes the framebuffer that firmware has left in a BAR of the device from its driver. */
void virtgpu_remove_framebuffers(struct pci_dev *dev)
{
	aperture_remove_conflicting_pci_devices(dev, KBUILD_MODNAME);
}

/*
 * Waits until a probe of the device has ended. One that is to be asynchronous and has not begun is
 * done here and now instead: the driver core then finds nothing left to do. Nothing else that is
 * asynchronous is waited for, as it may take long, or wait for us. Returns whether the device has a
 * driver.
 */
bool virtgpu_finish_probe(struct device *dev)
{
	bool bound, tried;

	/* It has ended well, and perhaps the driver is being unloaded already. */
	if (device_is_bound(dev))
		return true;
	device_lock(dev);
	bound = device_is_bound(dev);
	tried = dev_can_match(dev);
	device_unlock(dev);
	/* A driver that has refused it is not asked twice. */
	return bound || (!tried && device_attach(dev) == 1);
}

static void virtgpu_settle(struct work_struct *work)
{
	virtgpu_bridge_settle();
}

static DECLARE_WORK(settle_work, virtgpu_settle);

void virtgpu_settle_later(void)
{
	/* Drivers are not probed while the system sleeps. */
	queue_work(system_freezable_wq, &settle_work);
}

void virtgpu_settle_now(void)
{
	flush_work(&settle_work);
}

static void virtgpu_follow(struct work_struct *work)
{
	virtgpu_bridge_follow();
}

/* We have no interrupts: who changes a window waits for a second. An idle CPU need not wake. */
static DECLARE_DEFERRABLE_WORK(follow_work, virtgpu_follow);

void virtgpu_follow_later(void)
{
	queue_delayed_work(system_freezable_power_efficient_wq, &follow_work, HZ);
}

static void virtgpu_wake(struct work_struct *work)
{
	virtgpu_bridge_wake();
}

static DECLARE_DELAYED_WORK(wake_work, virtgpu_wake);

/* Timers and workqueues have locks that whoever prints may hold. */
static void virtgpu_wake_soon(struct irq_work *work)
{
	queue_delayed_work(system_power_efficient_wq, &wake_work, max(HZ / 60, 1));
}

static DEFINE_IRQ_WORK(wake_irq_work, virtgpu_wake_soon);

void virtgpu_wake_later(void)
{
	irq_work_queue(&wake_irq_work);
}

/* Whether such work is done: there are threads, and the machine does not sleep or stop. */
bool virtgpu_schedules(void)
{
	return system_state > SYSTEM_BOOTING && system_state <= SYSTEM_RUNNING;
}

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
device_initcall_sync(virtgpu_bridge_native);

#ifdef CONFIG_VT
static void virtgpu_blink(struct work_struct *work)
{
	virtgpu_bridge_blink();
}

static DECLARE_DELAYED_WORK(blink_work, virtgpu_blink);
static unsigned int blink_pause;

/* Not at once: the timer code prints warnings with its lock held. */
static void virtgpu_blink_soon(struct irq_work *work)
{
	queue_delayed_work(system_power_efficient_wq, &blink_work,
			   msecs_to_jiffies(READ_ONCE(blink_pause)));
}

static DEFINE_IRQ_WORK(blink_irq_work, virtgpu_blink_soon);

void virtgpu_blink_later(unsigned int milliseconds)
{
	/* It blinks soon enough, and each line asks for it. */
	if (delayed_work_pending(&blink_work))
		return;
	WRITE_ONCE(blink_pause, milliseconds);
	irq_work_queue(&blink_irq_work);
}

static void virtgpu_look(struct timer_list *timer)
{
	virtgpu_bridge_look();
}

/* One for each CPU: another may be locked up with what it has still to do. */
static DEFINE_PER_CPU(struct timer_list, look_timer) =
	__TIMER_INITIALIZER(virtgpu_look, TIMER_PINNED);

static void virtgpu_look_soon(struct irq_work *work)
{
	struct timer_list *timer = this_cpu_ptr(&look_timer);

	if (!timer_pending(timer))
		mod_timer(timer, jiffies + HZ / 4);
}

static DEFINE_PER_CPU(struct irq_work, look_work) = IRQ_WORK_INIT(virtgpu_look_soon);

void virtgpu_look_later(void)
{
	unsigned int cpu;

	/* The machine falls asleep: an interrupt would wake it, and the screen is dark. */
	if (console_irqwork_blocked)
		return;
	preempt_disable();
	irq_work_queue(this_cpu_ptr(&look_work));
	/* This CPU may say no more: another one looks in its place. None can be asked from NMI. */
	for_each_online_cpu(cpu) {
		if (!in_nmi() && cpu != smp_processor_id() &&
		    !timer_pending(per_cpu_ptr(&look_timer, cpu)))
			irq_work_queue_on(per_cpu_ptr(&look_work, cpu), cpu);
	}
	preempt_enable();
}
#endif

console_initcall(virtgpu_bridge_console);
#endif
