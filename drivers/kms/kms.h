/* SPDX-License-Identifier: GPL-2.0 */
/* What the KMS driver and virtgpu_bridge, which has the device, call of each other. */
#ifndef VIRTGPU_BRIDGE_KMS_H
#define VIRTGPU_BRIDGE_KMS_H

#include <linux/types.h>

struct device;

/* The callbacks of the KMS driver. They may sleep, and are called one at a time. */
struct virtgpu_bridge_kms_ops {
	/* The device is bound; parent is the PCI function or the virtio-mmio slot. */
	void (*bound)(struct device *parent);
	/* The device is about to be released, after a call of bound(). */
	void (*released)(void);
	/* The screen is another one than before, perhaps of another size. */
	void (*changed)(void);
	/* All of the framebuffer is to be drawn. */
	void (*redraw)(void);
};

/* An area of a framebuffer in XRGB8888 whose first pixel is the upper left one of the screen. */
struct virtgpu_bridge_kms_area {
	const void *pixels;
	/* Bytes from one row to the next. */
	unsigned int pitch;
	/* The size of the part of the framebuffer that is shown. */
	unsigned int width, height;
	/* The area: x1 <= x < x2, y1 <= y < y2. */
	unsigned int x1, y1, x2, y2;
};

/* The memory that the EDID takes when it is read, in bytes. */
#define VIRTGPU_BRIDGE_KMS_EDID_MEMORY 1056

void virtgpu_bridge_kms_register(const struct virtgpu_bridge_kms_ops *ops);
void virtgpu_bridge_kms_unregister(void);
void virtgpu_bridge_kms_size(unsigned int *width, unsigned int *height);
/*
 * Reads the EDID to the start of the memory, which is initialised. Returns its size in bytes, 0 if
 * there is none. Its content is not checked. Takes the console lock: no lock of DRM's is held.
 */
size_t virtgpu_bridge_kms_edid(void *memory, size_t length);
void virtgpu_bridge_kms_set_active(bool active);
void virtgpu_bridge_kms_set_master(bool has_master);
void virtgpu_bridge_kms_set_console(bool has_console);
void virtgpu_bridge_kms_draw(const struct virtgpu_bridge_kms_area *area);

#endif
