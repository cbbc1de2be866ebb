// SPDX-License-Identifier: GPL-2.0
/*
 * A KMS driver on a screen that virtgpu_bridge has: one plane, one CRTC and one connector. A shadow
 * plane gives virtgpu_bridge the areas that have changed, which it copies into the memory that its
 * text is drawn in.
 *
 * virtgpu_bridge is the virtual terminal itself if it is built in. As a module it shows the log
 * alone: then fbcon gets the device, if the kernel has fbdev emulation.
 *
 * In C, because DRM's tables and initialisers are macros and inline functions.
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include <drm/clients/drm_client_setup.h>
#include <drm/drm_atomic.h>
#include <drm/drm_atomic_helper.h>
#include <drm/drm_connector.h>
#include <drm/drm_crtc_helper.h>
#include <drm/drm_damage_helper.h>
#include <drm/drm_drv.h>
#include <drm/drm_edid.h>
#include <drm/drm_encoder.h>
#include <drm/drm_fb_helper.h>
#include <drm/drm_fbdev_shmem.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_framebuffer.h>
#include <drm/drm_gem_atomic_helper.h>
#include <drm/drm_gem_framebuffer_helper.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_managed.h>
#include <drm/drm_modeset_helper_vtables.h>
#include <drm/drm_modeset_lock.h>
#include <drm/drm_print.h>
#include <drm/drm_probe_helper.h>
#include <drm/drm_vblank.h>
#include <drm/drm_vblank_helper.h>

#include "kms.h"

/* The longest side of a framebuffer, in pixels. */
#define MAX_SIDE 16384

/* The highest rate of page flips, in Hz. */
#define MAX_RATE 240

struct bridge_kms {
	struct drm_device drm;
	/* The size that the screen had when the device was made. */
	unsigned int first_width, first_height;
	struct drm_plane plane;
	struct drm_crtc crtc;
	struct drm_encoder encoder;
	struct drm_connector connector;
};

/* The DRM device; none while the device is not bound. The callbacks come one at a time. */
static struct bridge_kms *kms;

static int plane_atomic_check(struct drm_plane *plane, struct drm_atomic_commit *commit)
{
	struct drm_plane_state *state = drm_atomic_get_new_plane_state(commit, plane);
	struct drm_crtc_state *crtc_state = NULL;

	if (state->crtc)
		crtc_state = drm_atomic_get_new_crtc_state(commit, state->crtc);
	return drm_atomic_helper_check_plane_state(state, crtc_state, DRM_PLANE_NO_SCALING,
						   DRM_PLANE_NO_SCALING, false, false);
}

/*
 * Returns whether it is what fbcon draws in, by fbdev emulation. DRM shows that buffer at each last
 * close of the device, whether fbcon uses it or not. Called while plugged.
 */
static bool is_fbcon(struct drm_framebuffer *fb)
{
	struct drm_fb_helper *helper = fb->dev->fb_helper;

	return helper && helper->fb == fb && helper->info && helper->info->fbcon_par;
}

static void plane_atomic_update(struct drm_plane *plane, struct drm_atomic_commit *commit)
{
	struct drm_plane_state *old_state = drm_atomic_get_old_plane_state(commit, plane);
	struct drm_plane_state *state = drm_atomic_get_new_plane_state(commit, plane);
	struct drm_shadow_plane_state *shadow = to_drm_shadow_plane_state(state);
	struct drm_framebuffer *fb = state->fb;
	struct drm_atomic_helper_damage_iter iter;
	struct drm_rect visible, damage;
	int idx;

	/* Memory of another device cannot be read as the others': nothing is drawn. */
	if (!fb || !state->visible || shadow->data[0].is_iomem)
		return;
	if (!drm_dev_enter(plane->dev, &idx))
		return;
	if (is_fbcon(fb))
		virtgpu_bridge_kms_set_console(true);
	if (drm_gem_fb_begin_cpu_access(fb, DMA_FROM_DEVICE))
		goto out;
	/* The damage is that of the whole plane, a part of which may lie outside of the screen. */
	visible = DRM_RECT_INIT(state->src.x1 >> 16, state->src.y1 >> 16,
				drm_rect_width(&state->src) >> 16,
				drm_rect_height(&state->src) >> 16);
	drm_atomic_helper_damage_iter_init(&iter, old_state, state);
	drm_atomic_for_each_plane_damage(&iter, &damage) {
		struct virtgpu_bridge_kms_area area = {
			.pixels = shadow->data[0].vaddr + visible.y1 * fb->pitches[0] +
				  visible.x1 * 4,
			.pitch = fb->pitches[0],
			.width = drm_rect_width(&visible),
			.height = drm_rect_height(&visible),
		};

		if (!drm_rect_intersect(&damage, &visible))
			continue;
		area.x1 = damage.x1 - visible.x1;
		area.y1 = damage.y1 - visible.y1;
		area.x2 = damage.x2 - visible.x1;
		area.y2 = damage.y2 - visible.y1;
		virtgpu_bridge_kms_draw(&area);
	}
	drm_gem_fb_end_cpu_access(fb, DMA_FROM_DEVICE);
out:
	drm_dev_exit(idx);
}

static const struct drm_plane_helper_funcs plane_helper_funcs = {
	DRM_GEM_SHADOW_PLANE_HELPER_FUNCS,
	.atomic_check = plane_atomic_check,
	.atomic_update = plane_atomic_update,
};

static const struct drm_plane_funcs plane_funcs = {
	.update_plane = drm_atomic_helper_update_plane,
	.disable_plane = drm_atomic_helper_disable_plane,
	.destroy = drm_plane_cleanup,
	DRM_GEM_SHADOW_PLANE_FUNCS,
};

static enum drm_mode_status crtc_mode_valid(struct drm_crtc *crtc,
					    const struct drm_display_mode *mode)
{
	unsigned int width, height;

	/* A smaller picture is at the top left of the screen. */
	virtgpu_bridge_kms_size(&width, &height);
	if (mode->hdisplay > width)
		return MODE_VIRTUAL_X;
	if (mode->vdisplay > height)
		return MODE_VIRTUAL_Y;
	/* DRM's vblank timer would not come to an end with a frame of no nanoseconds. */
	return drm_mode_vrefresh(mode) > MAX_RATE ? MODE_CLOCK_HIGH : MODE_OK;
}

static int crtc_atomic_check(struct drm_crtc *crtc, struct drm_atomic_commit *commit)
{
	struct drm_crtc_state *state = drm_atomic_get_new_crtc_state(commit, crtc);

	return state->enable ? drm_atomic_helper_check_crtc_primary_plane(state) : 0;
}

/* Once a device is unplugged, its programs do not change what is on the screen. */
static void set_if_plugged(struct drm_device *drm, void (*set)(bool value), bool value)
{
	int idx;

	if (drm_dev_enter(drm, &idx)) {
		set(value);
		drm_dev_exit(idx);
	}
}

static void crtc_atomic_enable(struct drm_crtc *crtc, struct drm_atomic_commit *commit)
{
	set_if_plugged(crtc->dev, virtgpu_bridge_kms_set_active, true);
	drm_crtc_vblank_on(crtc);
}

static void crtc_atomic_disable(struct drm_crtc *crtc, struct drm_atomic_commit *commit)
{
	set_if_plugged(crtc->dev, virtgpu_bridge_kms_set_active, false);
	drm_crtc_vblank_atomic_disable(crtc, commit);
}

static const struct drm_crtc_helper_funcs crtc_helper_funcs = {
	.mode_valid = crtc_mode_valid,
	.atomic_check = crtc_atomic_check,
	.atomic_flush = drm_crtc_vblank_atomic_flush,
	.atomic_enable = crtc_atomic_enable,
	.atomic_disable = crtc_atomic_disable,
};

static const struct drm_crtc_funcs crtc_funcs = {
	.reset = drm_atomic_helper_crtc_reset,
	.destroy = drm_crtc_cleanup,
	.set_config = drm_atomic_helper_set_config,
	.page_flip = drm_atomic_helper_page_flip,
	.atomic_duplicate_state = drm_atomic_helper_crtc_duplicate_state,
	.atomic_destroy_state = drm_atomic_helper_crtc_destroy_state,
	DRM_CRTC_VBLANK_TIMER_FUNCS,
};

static const struct drm_encoder_funcs encoder_funcs = {
	.destroy = drm_encoder_cleanup,
};

static int add_mode(struct drm_connector *connector, unsigned int width, unsigned int height,
		    unsigned int type)
{
	const struct drm_display_mode fixed = { DRM_MODE_INIT(60, width, height, 0, 0) };
	struct drm_display_mode *mode;

	mode = drm_mode_duplicate(connector->dev, &fixed);
	if (!mode)
		return 0;
	drm_mode_set_name(mode);
	mode->type |= type;
	drm_mode_probed_add(connector, mode);
	return 1;
}

/*
 * The mode of the screen is the preferred one. The smaller ones, with that of the screen as it was
 * first, are for programs that do not follow a screen which becomes larger, such as fbcon: it would
 * turn off a screen for which its buffer is too small.
 */
static int connector_get_modes(struct drm_connector *connector)
{
	struct bridge_kms *kms = container_of(connector, struct bridge_kms, connector);
	unsigned int first_width = kms->first_width, first_height = kms->first_height;
	unsigned int width, height;
	int count;

	virtgpu_bridge_kms_size(&width, &height);
	/* Without a screen there is no mode. */
	if (!width)
		return 0;
	count = drm_add_modes_noedid(connector, width, height);
	if (first_width && first_width <= width && first_height <= height &&
	    (first_width < width || first_height < height))
		count += add_mode(connector, first_width, first_height, 0);
	return count + add_mode(connector, width, height, DRM_MODE_TYPE_PREFERRED);
}

/* An EDID as the device has it. */
struct raw_edid {
	size_t size;
	u8 memory[VIRTGPU_BRIDGE_KMS_EDID_MEMORY];
};

static int copy_edid_block(void *data, u8 *block, unsigned int number, size_t length)
{
	const struct raw_edid *edid = data;
	size_t start = (size_t)number * EDID_LENGTH;

	if (start + length > edid->size)
		return -EINVAL;
	memcpy(block, edid->memory + start, length);
	return 0;
}

/*
 * Gives the connector the EDID that the screen has now, if it is valid. The device is asked here,
 * and not for each probe of the connector, which comes with locks under which it cannot be asked.
 */
static void update_edid(struct bridge_kms *kms)
{
	struct mutex *lock = &kms->drm.mode_config.mutex;
	const struct drm_edid *edid;
	struct raw_edid *raw;

	raw = kzalloc_obj(*raw);
	if (!raw)
		return;
	raw->size = virtgpu_bridge_kms_edid(raw->memory, sizeof(raw->memory));
	mutex_lock(lock);
	edid = drm_edid_read_custom(&kms->connector, copy_edid_block, raw);
	drm_edid_connector_update(&kms->connector, edid);
	mutex_unlock(lock);
	drm_edid_free(edid);
	kfree(raw);
}

static const struct drm_connector_helper_funcs connector_helper_funcs = {
	.get_modes = connector_get_modes,
};

static const struct drm_connector_funcs connector_funcs = {
	.fill_modes = drm_helper_probe_single_connector_modes,
	.destroy = drm_connector_cleanup,
	.reset = drm_atomic_helper_connector_reset,
	.atomic_duplicate_state = drm_atomic_helper_connector_duplicate_state,
	.atomic_destroy_state = drm_atomic_helper_connector_destroy_state,
};

static const struct drm_mode_config_funcs mode_config_funcs = {
	.fb_create = drm_gem_fb_create_with_dirty,
	.atomic_check = drm_atomic_helper_check,
	.atomic_commit = drm_atomic_helper_commit,
};

static void master_set(struct drm_device *dev, struct drm_file *file, bool from_open)
{
	set_if_plugged(dev, virtgpu_bridge_kms_set_master, true);
}

static void master_drop(struct drm_device *dev, struct drm_file *file)
{
	set_if_plugged(dev, virtgpu_bridge_kms_set_master, false);
}

DEFINE_DRM_GEM_FOPS(bridge_fops);

static const struct drm_driver bridge_driver = {
	.driver_features = DRIVER_MODESET | DRIVER_GEM | DRIVER_ATOMIC,
	.name = "virtgpu_bridge",
	.desc = "The screen of virtgpu_bridge",
	.major = 1,
	.fops = &bridge_fops,
	.master_set = master_set,
	.master_drop = master_drop,
	DRM_GEM_SHMEM_DRIVER_OPS,
	DRM_FBDEV_SHMEM_DRIVER_OPS,
};

static int init_mode_config(struct bridge_kms *kms)
{
	static const u32 formats[] = { DRM_FORMAT_XRGB8888 };
	struct drm_device *drm = &kms->drm;
	int ret;

	ret = drmm_mode_config_init(drm);
	if (ret)
		return ret;
	drm->mode_config.max_width = MAX_SIDE;
	drm->mode_config.max_height = MAX_SIDE;
	drm->mode_config.preferred_depth = 24;
	drm->mode_config.funcs = &mode_config_funcs;

	ret = drm_universal_plane_init(drm, &kms->plane, 0, &plane_funcs, formats,
				       ARRAY_SIZE(formats), NULL, DRM_PLANE_TYPE_PRIMARY, NULL);
	if (ret)
		return ret;
	drm_plane_helper_add(&kms->plane, &plane_helper_funcs);
	drm_plane_enable_fb_damage_clips(&kms->plane);

	ret = drm_crtc_init_with_planes(drm, &kms->crtc, &kms->plane, NULL, &crtc_funcs, NULL);
	if (ret)
		return ret;
	drm_crtc_helper_add(&kms->crtc, &crtc_helper_funcs);

	ret = drm_encoder_init(drm, &kms->encoder, &encoder_funcs, DRM_MODE_ENCODER_VIRTUAL, NULL);
	if (ret)
		return ret;
	kms->encoder.possible_crtcs = drm_crtc_mask(&kms->crtc);

	ret = drm_connector_init(drm, &kms->connector, &connector_funcs,
				 DRM_MODE_CONNECTOR_VIRTUAL);
	if (ret)
		return ret;
	drm_connector_helper_add(&kms->connector, &connector_helper_funcs);
	drm_connector_attach_edid_property(&kms->connector);
	ret = drm_connector_attach_encoder(&kms->connector, &kms->encoder);
	if (ret)
		return ret;

	ret = drm_vblank_init(drm, 1);
	if (ret)
		return ret;
	drm_mode_config_reset(drm);
	return 0;
}

/* A program that is not the master, as plymouth at its start, learns what was probed before. */
static void probe_connector(struct bridge_kms *kms)
{
	struct drm_mode_config *config = &kms->drm.mode_config;

	mutex_lock(&config->mutex);
	drm_helper_probe_single_connector_modes(&kms->connector, config->max_width,
						config->max_height);
	mutex_unlock(&config->mutex);
}

static void bound(struct device *parent)
{
	struct bridge_kms *new;
	int ret;

	new = __drm_dev_alloc(parent, &bridge_driver, sizeof(*new),
			      offsetof(struct bridge_kms, drm));
	if (IS_ERR(new)) {
		dev_err(parent, "no KMS device: error %pe\n", new);
		return;
	}
	virtgpu_bridge_kms_size(&new->first_width, &new->first_height);
	ret = init_mode_config(new);
	if (!ret) {
		update_edid(new);
		probe_connector(new);
		ret = drm_dev_register(&new->drm, 0);
	}
	if (ret) {
		drm_err(&new->drm, "no KMS device: error %pe\n", ERR_PTR(ret));
		drm_dev_put(&new->drm);
		return;
	}
	kms = new;
	if (IS_MODULE(CONFIG_VIRTGPU_BRIDGE))
		drm_client_setup(&new->drm, NULL);
}

static void released(void)
{
	if (!kms)
		return;
	drm_dev_unplug(&kms->drm);
	drm_atomic_helper_shutdown(&kms->drm);
	drm_dev_put(&kms->drm);
	kms = NULL;
	virtgpu_bridge_kms_set_console(false);
	virtgpu_bridge_kms_set_active(false);
	virtgpu_bridge_kms_set_master(false);
}

static void changed(void)
{
	if (!kms)
		return;
	update_edid(kms);
	probe_connector(kms);
	drm_kms_helper_hotplug_event(&kms->drm);
	/* fbcon, which it has told, has left the modes that fit its buffer. */
	if (kms->drm.fb_helper)
		probe_connector(kms);
}

static void redraw(void)
{
	struct drm_framebuffer *fb;

	if (!kms)
		return;
	drm_modeset_lock(&kms->plane.mutex, NULL);
	fb = kms->plane.state->fb;
	if (fb)
		drm_framebuffer_get(fb);
	drm_modeset_unlock(&kms->plane.mutex);
	if (fb) {
		drm_atomic_helper_dirtyfb(fb, NULL, 0, 0, NULL, 0);
		drm_framebuffer_put(fb);
	}
}

static const struct virtgpu_bridge_kms_ops ops = {
	.bound = bound,
	.released = released,
	.changed = changed,
	.redraw = redraw,
};

static int __init bridge_kms_init(void)
{
	virtgpu_bridge_kms_register(&ops);
	return 0;
}

/* After the built-in native driver had its chance, at device_initcall_sync. */
late_initcall(bridge_kms_init);

static void __exit bridge_kms_exit(void)
{
	virtgpu_bridge_kms_unregister();
}
module_exit(bridge_kms_exit);

#if !IS_MODULE(CONFIG_VIRTGPU_BRIDGE)
/* That of the uevent by which virtgpu_bridge asks for the native driver, while it has a device. */
MODULE_ALIAS("virtio:d00000010v*");
#endif
MODULE_DESCRIPTION("KMS driver on the screen of virtgpu_bridge");
MODULE_LICENSE("GPL");
