// SPDX-License-Identifier: GPL-2.0
/*
 * The entry points that Linux calls, declared by macros that exist only in C: initcalls, the early
 * console, the PCI fixup, work items and timers. Each calls a Rust function. A module has few of
 * them.
 */
#include <linux/console.h>
#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/serial_core.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "../kms/kms.h"
#include "helpers.h"

#if IS_ENABLED(CONFIG_VIRTGPU_BRIDGE_KMS)
void virtgpu_bridge_kms_register(const struct virtgpu_bridge_kms_ops *ops)
{
	rust_virtgpu_bridge_kms_register(ops);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_register);

void virtgpu_bridge_kms_unregister(void)
{
	rust_virtgpu_bridge_kms_unregister();
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_unregister);

void virtgpu_bridge_kms_size(unsigned int *width, unsigned int *height)
{
	rust_virtgpu_bridge_kms_size(width, height);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_size);

size_t virtgpu_bridge_kms_edid(void *memory, size_t length)
{
	return rust_virtgpu_bridge_kms_edid(memory, length);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_edid);

void virtgpu_bridge_kms_set_active(bool active)
{
	rust_virtgpu_bridge_kms_set_active(active);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_set_active);

void virtgpu_bridge_kms_set_master(bool has_master)
{
	rust_virtgpu_bridge_kms_set_master(has_master);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_set_master);

void virtgpu_bridge_kms_set_console(bool has_console)
{
	rust_virtgpu_bridge_kms_set_console(has_console);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_set_console);

void virtgpu_bridge_kms_draw(const struct virtgpu_bridge_kms_area *area)
{
	rust_virtgpu_bridge_kms_draw(area);
}
EXPORT_SYMBOL_GPL(virtgpu_bridge_kms_draw);
#endif

static void update_framebuffer(struct work_struct *work)
{
	rust_virtgpu_bridge_update_framebuffer();
}

static DECLARE_WORK(update_framebuffer_work, update_framebuffer);

/* Run by irq_work, since the code that prints may hold a lock of workqueues. */
static void queue_update_framebuffer(struct irq_work *work)
{
	queue_work(system_freezable_wq, &update_framebuffer_work);
}

static DEFINE_IRQ_WORK(update_framebuffer_irq_work, queue_update_framebuffer);

void virtgpu_bridge_update_framebuffer_later(void)
{
	irq_work_queue(&update_framebuffer_irq_work);
}

static void poll_device(struct work_struct *work)
{
	rust_virtgpu_bridge_poll_device();
}

/*
 * The driver uses no interrupts, so a change of the display is noticed within a second. Deferrable:
 * an idle CPU does not wake up for it.
 */
static DECLARE_DEFERRABLE_WORK(poll_device_work, poll_device);

void virtgpu_bridge_poll_device_later(void)
{
	queue_delayed_work(system_freezable_power_efficient_wq, &poll_device_work, HZ);
}

#ifdef MODULE
void virtgpu_bridge_stop_polling_device(void)
{
	cancel_delayed_work_sync(&poll_device_work);
}

void virtgpu_bridge_finish_framebuffer_update(void)
{
	irq_work_sync(&update_framebuffer_irq_work);
	flush_work(&update_framebuffer_work);
}
#else
EARLYCON_DECLARE(virtgpu, rust_virtgpu_bridge_earlycon_setup);
arch_initcall(rust_virtgpu_bridge_arch_init);
DECLARE_PCI_FIXUP_EARLY(PCI_ANY_ID, PCI_ANY_ID, rust_virtgpu_bridge_pci_fixup);
device_initcall_sync(rust_virtgpu_bridge_late_init);
console_initcall(rust_virtgpu_bridge_console_init);

static void do_handover(struct work_struct *work)
{
	rust_virtgpu_bridge_handover();
}

static DECLARE_WORK(handover_work, do_handover);

void virtgpu_bridge_handover_later(void)
{
	/* Freezable: drivers are not probed while the system sleeps. */
	queue_work(system_freezable_wq, &handover_work);
}

void virtgpu_bridge_finish_handover(void)
{
	flush_work(&handover_work);
}

static void show_frame(struct work_struct *work)
{
	rust_virtgpu_bridge_show_frame();
}

static DECLARE_DELAYED_WORK(show_frame_work, show_frame);

/* Run by irq_work, since the code that prints may hold a lock of timers or workqueues. */
static void queue_show_frame(struct irq_work *work)
{
	queue_delayed_work(system_power_efficient_wq, &show_frame_work, max(HZ / 60, 1));
}

static DEFINE_IRQ_WORK(show_frame_irq_work, queue_show_frame);

void virtgpu_bridge_show_frame_later(void)
{
	irq_work_queue(&show_frame_irq_work);
}

static void start_kms(struct work_struct *work)
{
	rust_virtgpu_bridge_start_kms();
}

static DECLARE_DELAYED_WORK(start_kms_work, start_kms);

void virtgpu_bridge_start_kms_later(void)
{
	queue_delayed_work(system_freezable_power_efficient_wq, &start_kms_work, HZ);
}

#ifdef CONFIG_VT
static void blink(struct work_struct *work)
{
	rust_virtgpu_bridge_blink();
}

static DECLARE_DELAYED_WORK(blink_work, blink);
static unsigned int blink_delay_ms;

/* Run by irq_work, since the timer code prints warnings with its lock held. */
static void queue_blink(struct irq_work *work)
{
	queue_delayed_work(system_power_efficient_wq, &blink_work,
			   msecs_to_jiffies(READ_ONCE(blink_delay_ms)));
}

static DEFINE_IRQ_WORK(blink_irq_work, queue_blink);

void virtgpu_bridge_blink_later(unsigned int milliseconds)
{
	/* Each line of output calls this: leave a pending work item alone. */
	if (delayed_work_pending(&blink_work))
		return;
	WRITE_ONCE(blink_delay_ms, milliseconds);
	irq_work_queue(&blink_irq_work);
}

static void check_tty(struct timer_list *timer)
{
	rust_virtgpu_bridge_check_tty();
}

/* One timer for each CPU, since a CPU that is locked up runs no timers. */
static DEFINE_PER_CPU(struct timer_list, check_tty_timer) =
	__TIMER_INITIALIZER(check_tty, TIMER_PINNED);

static void start_check_tty_timer(struct irq_work *work)
{
	struct timer_list *timer = this_cpu_ptr(&check_tty_timer);

	if (!timer_pending(timer))
		mod_timer(timer, jiffies + HZ / 4);
}

static DEFINE_PER_CPU(struct irq_work, check_tty_irq_work) = IRQ_WORK_INIT(start_check_tty_timer);

void virtgpu_bridge_check_tty_later(void)
{
	unsigned int cpu;

	/* While the machine suspends, an interrupt would wake it up. */
	if (console_irqwork_blocked)
		return;
	preempt_disable();
	irq_work_queue(this_cpu_ptr(&check_tty_irq_work));
	/* Others check too, since this CPU may be locked up. NMI cannot queue work on them. */
	for_each_online_cpu(cpu) {
		if (!in_nmi() && cpu != smp_processor_id() &&
		    !timer_pending(per_cpu_ptr(&check_tty_timer, cpu)))
			irq_work_queue_on(per_cpu_ptr(&check_tty_irq_work, cpu), cpu);
	}
	preempt_enable();
}
#endif
#endif
