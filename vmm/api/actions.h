/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests can make the monitor do: vm_actions.c. All are called on the event loop's thread,
 * and return 0, or a negative errno with the reason that the client is told.
 */
#ifndef MOTE_API_ACTIONS_H
#define MOTE_API_ACTIONS_H

#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/state.h"

struct virtio_device;

struct api_actions {
	enum vm_state (*state)(void *context);
	/* Boot what the config says, which must be valid; after an error it can be tried again. */
	int (*start)(void *context, struct error *err);
	int (*pause)(void *context, struct error *err);
	int (*resume)(void *context, struct error *err);
	int (*flush_metrics)(void *context, struct error *err);
	int (*ctrl_alt_del)(void *context, struct error *err);
	/* What is set of the limits of a device that is there; the rest stays. */
	int (*limit_drive)(void *context, const char *id, const struct config_rate_limiter *limits,
			   struct error *err);
	/* Another image for a drive that is there, or the same one, which may have another size now. */
	int (*change_drive)(void *context, const char *id, const char *path, struct error *err);
	int (*limit_net)(void *context, const char *id, const struct config_rate_limiter *rx,
			 const struct config_rate_limiter *tx, struct error *err);
	/* The device that the config has, once it runs; NULL without one. */
	struct virtio_device *(*balloon)(void *context);
	int (*open_log)(void *context, const struct config_logger *logger, struct error *err);
	int (*open_metrics)(void *context, const struct config_metrics *metrics, struct error *err);
};

#endif
