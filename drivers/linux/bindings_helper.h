/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers of the parts of Linux that virtgpu_bridge needs and the kernel crate does not wrap. The
 * names that bindgen translates are listed in bindings_parameters.
 */
#include <linux/tty.h>

#include <linux/console.h>
#include <linux/console_struct.h>
#include <linux/device/bus.h>
#include <linux/dma-mapping.h>
#include <linux/font.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kd.h>
#include <linux/kdebug.h>
#include <linux/kmsg_dump.h>
#include <linux/of_fdt.h>
#include <linux/panic.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/selection.h>
#include <linux/serial_core.h>
#include <linux/vt_kern.h>

#include <asm/early_ioremap.h>

#include <video/nomodeset.h>

#include "../kms/kms.h"
#include "helpers.h"
