// SPDX-License-Identifier: GPL-2.0
/*
 * C part of the crash tests (mod.rs): calls of macros, and hooks in the kernel.
 */
#include <linux/console.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/irqdomain.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>

#include "hooks.h"

void virtgpu_bridge_test_panic(void)
{
	panic("crash test");
}

/* Takes the console lock for that many seconds, which blocks all virtual terminals. */
static int virtgpu_bridge_test_hold(void *seconds)
{
	console_lock();
	ssleep((uintptr_t)seconds);
	console_unlock();
	return 0;
}

/* Stays in an RCU read-side critical section for that many seconds. */
static int virtgpu_bridge_test_stall(void *seconds)
{
	uintptr_t remaining = (uintptr_t)seconds;

	rcu_read_lock();
	start_poll_synchronize_rcu();
	while (remaining--)
		mdelay(1000);
	rcu_read_unlock();
	return 0;
}

/* Warns, and then loops on its CPU with interrupts masked. */
static int virtgpu_bridge_test_vanish(void *unused)
{
	local_irq_disable();
	WARN(1, "test warning, and gone\n");
	for (;;)
		cpu_relax();
	return 0;
}

/* Starts a thread, as the caller holds locks that other code needs. */
void virtgpu_bridge_test_thread(enum virtgpu_bridge_test_thread function, unsigned long seconds)
{
	static int (*const functions[])(void *) = {
		[VIRTGPU_BRIDGE_TEST_HOLD] = virtgpu_bridge_test_hold,
		[VIRTGPU_BRIDGE_TEST_STALL] = virtgpu_bridge_test_stall,
		[VIRTGPU_BRIDGE_TEST_VANISH] = virtgpu_bridge_test_vanish,
	};

	kthread_run(functions[function], (void *)seconds, "virtgpu_bridge_test");
}

/* Whether the code in the interrupt panics, or else warns. */
static bool must_panic;
/* Whether it has warned. */
static bool has_warned;

static void virtgpu_bridge_test_act(void)
{
	const char *where = in_nmi() ? "NMI" : in_hardirq() ? "hard interrupt" :
			    in_serving_softirq() ? "softirq" : "no interrupt";

	if (must_panic)
		panic("crash test, in %s", where);
	WARN(1, "test warning, in %s\n", where);
	WRITE_ONCE(has_warned, true);
}

static void virtgpu_bridge_test_in_softirq(struct tasklet_struct *tasklet)
{
	virtgpu_bridge_test_act();
}

static DECLARE_TASKLET(tasklet, virtgpu_bridge_test_in_softirq);

static void virtgpu_bridge_test_in_hardirq(struct irq_work *work)
{
	virtgpu_bridge_test_act();
}

/* Runs in hard interrupt context, also with PREEMPT_RT. */
static struct irq_work work = IRQ_WORK_INIT_HARD(virtgpu_bridge_test_in_hardirq);

static irqreturn_t virtgpu_bridge_test_in_nmi(int irq, void *data)
{
	virtgpu_bridge_test_act();
	return IRQ_HANDLED;
}

void virtgpu_bridge_test_softirq(bool panics)
{
	must_panic = panics;
	tasklet_schedule(&tasklet);
}

void virtgpu_bridge_test_hardirq(bool panics)
{
	must_panic = panics;
	irq_work_queue(&work);
}

/* Triggers an unused interrupt of the GIC as an NMI, while all other interrupts are masked. */
void virtgpu_bridge_test_nmi(bool panics)
{
	static struct irq_fwspec spec = { .param_count = 3, .param = { 0, 150, 1 } };
	unsigned int irq;

	for (irq = 1; irq < irq_get_nr_irqs(); irq++) {
		struct irq_data *data = irq_get_irq_data(irq);

		if (data && !strcmp(data->chip->name, "GICv3")) {
			spec.fwnode = data->domain->fwnode;
			break;
		}
	}
	irq = irq_create_fwspec_mapping(&spec);
	must_panic = panics;
	local_irq_disable();
	irq_set_affinity(irq, cpumask_of(smp_processor_id()));
	if (!irq || request_nmi(irq, virtgpu_bridge_test_in_nmi, IRQF_PERCPU | IRQF_NO_AUTOEN,
				"virtgpu_bridge_test", &spec)) {
		local_irq_enable();
		pr_err("no NMI\n");
		return;
	}
	enable_nmi(irq);
	irq_set_irqchip_state(irq, IRQCHIP_STATE_PENDING, true);
	while (!READ_ONCE(has_warned))
		cpu_relax();
	local_irq_enable();
}

static void virtgpu_bridge_test_fixup(struct pci_dev *dev)
{
	virtgpu_bridge_test_at_pci();
}
DECLARE_PCI_FIXUP_HEADER(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1050, virtgpu_bridge_test_fixup);

static int virtgpu_bridge_test_probe(struct virtio_device *device)
{
	virtgpu_bridge_test_panic();
	return -ENODEV;
}

static const struct virtio_device_id ids[] = {
	{ VIRTIO_ID_GPU, VIRTIO_DEV_ANY_ID },
	{ },
};

static struct virtio_driver driver = {
	.driver.name = "virtgpu_bridge_test",
	.id_table = ids,
	.probe = virtgpu_bridge_test_probe,
};

/* Registers the driver before the native one, so that its probe() is called first. */
static int __init virtgpu_bridge_test_init(void)
{
	return virtgpu_bridge_test_at_bind() ? register_virtio_driver(&driver) : 0;
}
subsys_initcall(virtgpu_bridge_test_init);

static int virtgpu_bridge_test_set(const char *request, const struct kernel_param *param)
{
	return virtgpu_bridge_test_request(request);
}

static const struct kernel_param_ops ops = { .set = virtgpu_bridge_test_set };

/* Parsed after setup_arch() and before console_init(), or written in sysfs. */
module_param_cb(test, &ops, NULL, 0200);

static int __init virtgpu_bridge_test_early(char *request)
{
	return virtgpu_bridge_test_request(request);
}
early_param("virtgpu_bridge_test", virtgpu_bridge_test_early);
