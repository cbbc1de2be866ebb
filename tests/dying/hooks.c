// SPDX-License-Identifier: GPL-2.0
/*
 * What the ways to die (mod.rs) need of C: macros, and places to be called from.
 */
#include <linux/console.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>

#include "hooks.h"

void virtgpu_test_panic(void)
{
	panic("dying as told");
}

/* Holds the console lock, and with it all virtual terminals. */
void virtgpu_test_hold(unsigned int seconds)
{
	console_lock();
	ssleep(seconds);
	console_unlock();
}

static irqreturn_t virtgpu_test_in_nmi(int irq, void *data)
{
	panic("dying as told, %s", in_nmi() ? "in NMI" : "not in NMI");
}

/* An interrupt that nothing uses comes, as NMI, while all others are masked. */
void virtgpu_test_nmi(void)
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
	local_irq_disable();
	irq_set_affinity(irq, cpumask_of(smp_processor_id()));
	if (!irq || request_nmi(irq, virtgpu_test_in_nmi, IRQF_PERCPU | IRQF_NO_AUTOEN,
				"virtgpu_test", &spec)) {
		local_irq_enable();
		pr_err("no NMI\n");
		return;
	}
	enable_nmi(irq);
	irq_set_irqchip_state(irq, IRQCHIP_STATE_PENDING, true);
	for (;;)
		cpu_relax();
}

static void virtgpu_test_fixup(struct pci_dev *dev)
{
	virtgpu_test_at_pci();
}
DECLARE_PCI_FIXUP_HEADER(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1050, virtgpu_test_fixup);

static int virtgpu_test_probe(struct virtio_device *device)
{
	virtgpu_test_panic();
	return -ENODEV;
}

static const struct virtio_device_id ids[] = {
	{ VIRTIO_ID_GPU, VIRTIO_DEV_ANY_ID },
	{ },
};

static struct virtio_driver driver = {
	.driver.name = "virtgpu_test",
	.id_table = ids,
	.probe = virtgpu_test_probe,
};

/* Is asked before the native driver. */
static int __init virtgpu_test_init(void)
{
	return virtgpu_test_at_bind() ? register_virtio_driver(&driver) : 0;
}
subsys_initcall(virtgpu_test_init);

static int virtgpu_test_set(const char *way, const struct kernel_param *param)
{
	return virtgpu_test_way(way);
}

static const struct kernel_param_ops ops = { .set = virtgpu_test_set };

/* On the command line, after setup_arch() and before console_init(); or in sysfs. */
module_param_cb(test, &ops, NULL, 0200);

static int __init virtgpu_test_early(char *way)
{
	return virtgpu_test_way(way);
}
early_param("virtgpu_test", virtgpu_test_early);
