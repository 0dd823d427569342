/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the configuration: texts become files, and are read as mote-vmm reads them. */
#ifndef MOTE_TESTS_CONFIG_TEXT_H
#define MOTE_TESTS_CONFIG_TEXT_H

#include <stddef.h>

#include "vmm/config.h"

/* The least that each kind of object needs. */
#define BOOT    "\"boot-source\": {\"kernel_image_path\": \"/k\"}"
#define MACHINE "\"machine-config\": {\"vcpu_count\": 2, \"mem_size_mib\": 64"
#define DRIVE   "\"drive_id\": \"d\", \"path_on_host\": \"/d\", \"is_root_device\": false"
#define NET     "\"iface_id\": \"e\", \"host_dev_name\": \"tap0\""

/* Group set-up and teardown: a directory, and in it the config file. */
int config_text_setup(void **state);
int config_text_teardown(void **state);
extern char config_text_directory[];
extern char config_text_path[];

void config_text_write(const void *bytes, size_t length);

/* Load text and validate it; the caller releases config either way. */
int config_text_read(struct config *config, const char *text, struct error *err);

/* text must be refused with this message (behind the name of the file, if the loader wrote it). */
void config_text_refused(const char *text, const char *message);

#endif
