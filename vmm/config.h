/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM as data. One struct, filled from the JSON file (vmm/api/json.c) or from the API, and
 * validated in one place (config_validate) before anything on the host is touched. Keys, defaults
 * and limits are Firecracker's where it has them.
 *
 * Strings are owned by the config and allocated with malloc; NULL = not given. Paths of files (not
 * of sockets) may be "/dev/fd/N", an inherited file descriptor: vmm/open.h.
 */
#ifndef MOTE_CONFIG_H
#define MOTE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/memory.h"

struct json_t; /* jansson.h */

#define CONFIG_VCPUS_MAX        32
#define CONFIG_VIRTIO_MAX       19 /* GSIs 5 to 23, one a device */
#define CONFIG_DRIVES_MAX       CONFIG_VIRTIO_MAX
#define CONFIG_NETS_MAX         CONFIG_VIRTIO_MAX
#define CONFIG_ID_MAX           64
#define CONFIG_CMDLINE_MAX      2048 /* bytes with the terminating NUL, as x86 Linux takes */
#define CONFIG_MEMORY_MIB_MAX   (255ull * 1024) /* up to where the 64-bit MMIO window may start */
#define CONFIG_PATH_MAX         4095 /* bytes without the NUL, as open(2) takes */
#define CONFIG_TAP_NAME_MAX     15   /* IFNAMSIZ - 1 */
/* sun_path without its NUL and "_4294967295", which names the socket of a guest's connection. */
#define CONFIG_UDS_PATH_MAX     (107 - 11)
#define CONFIG_GUEST_PORTS_MAX  8
#define CONFIG_MMDS_IPV4        0xa9fea9feu /* 169.254.169.254 */
#define CONFIG_FILE_MAX         (1024ul * 1024) /* bytes of a config file */

#define CONFIG_DEFAULT_BOOT_ARGS                                                                   \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"

struct config_token_bucket {
	bool set;
	uint64_t size;           /* bytes or operations; 0 = no limit */
	uint64_t one_time_burst; /* granted once, before size counts */
	uint64_t refill_time_ms; /* for an empty bucket to fill; 0 = no limit */
};

struct config_rate_limiter {
	struct config_token_bucket bandwidth;
	struct config_token_bucket ops;
};

struct config_boot_source {
	char *kernel_image_path; /* required */
	char *initrd_path;
	char *boot_args;         /* printable ASCII; NULL = CONFIG_DEFAULT_BOOT_ARGS */
};

/* How the guest learns of its processors and devices. */
enum config_platform {
	CONFIG_PLATFORM_ACPI,    /* ACPI tables; virtio devices in the DSDT */
	CONFIG_PLATFORM_MPTABLE, /* MPTable, and virtio devices on the command line */
};

struct config_machine {
	uint32_t vcpu_count;     /* 1..32; with smt 1 or even. Default 1 */
	uint64_t mem_size_mib;   /* 1..CONFIG_MEMORY_MIB_MAX, even with 2 MiB pages. Default 128 */
	bool smt;
	bool track_dirty_pages;
	enum memory_backing huge_pages;
	enum config_platform platform; /* mote's own key "platform": "Acpi" (default) | "MpTable" */
};

enum config_cache_type { CONFIG_CACHE_UNSAFE, CONFIG_CACHE_WRITEBACK };
enum config_io_engine { CONFIG_IO_SYNC, CONFIG_IO_ASYNC };

struct config_drive {
	char *drive_id;          /* 1..64 characters, [A-Za-z0-9_], unique */
	char *path_on_host;      /* required */
	bool is_root_device;     /* at most one */
	bool is_read_only;
	char *partuuid;          /* root=PARTUUID=...; means nothing without is_root_device */
	enum config_cache_type cache_type;
	enum config_io_engine io_engine; /* default Sync as Firecracker's; Async = libaio */
	struct config_rate_limiter rate_limiter;
};

struct config_net {
	char *iface_id;          /* 1..64 characters, [A-Za-z0-9_], unique */
	char *host_dev_name;     /* tap device or "/dev/fd/N", 1..15 characters, unique */
	bool has_mac;
	uint8_t guest_mac[6];    /* a unicast address, unique */
	uint16_t mtu;            /* 68..65535; 0 = not given */
	struct config_rate_limiter rx_rate_limiter;
	struct config_rate_limiter tx_rate_limiter;
};

/* mote's own: the guest's first connection to this port is a socket that mote-vmm inherited. */
struct config_guest_port {
	uint32_t port;           /* unique */
	uint32_t fd;             /* a connected stream socket, 3..INT_MAX */
};

struct config_vsock {
	bool set;
	uint32_t guest_cid;      /* 3..0xfffffffe: the others have meanings of their own */
	char *uds_path;          /* 1..CONFIG_UDS_PATH_MAX bytes; required without guest_ports */
	unsigned int n_guest_ports;
	struct config_guest_port guest_ports[CONFIG_GUEST_PORTS_MAX];
};

enum config_mmds_version { CONFIG_MMDS_V1, CONFIG_MMDS_V2 };

/* The metadata service. */
struct config_mmds {
	bool set;
	enum config_mmds_version version; /* default V1, as Firecracker's */
	uint32_t ipv4_address;   /* in host's byte order; link-local, default CONFIG_MMDS_IPV4 */
	bool imds_compat;
	unsigned int n_network_interfaces; /* at least one */
	char *network_interfaces[CONFIG_NETS_MAX]; /* iface_ids, each once */
};

struct config_entropy {
	bool set;
	struct config_rate_limiter rate_limiter;
};

struct config_balloon {
	bool set;
	uint32_t amount_mib;     /* at most the machine's mem_size_mib */
	bool deflate_on_oom;
	uint16_t stats_polling_interval_s; /* 0 = no statistics */
	bool free_page_hinting;
	bool free_page_reporting;
};

struct config_serial {
	bool set;
	char *serial_out_path;   /* file or FIFO for the guest's output instead of stdout */
	struct config_token_bucket rate_limiter;
};

struct config_logger {
	bool set;
	char *log_path;
	enum log_level level;    /* default LOG_INFO */
	bool show_level;
	bool show_log_origin;
	char *module;            /* what log_options.module is; NULL = all */
};

struct config_metrics {
	bool set;
	char *metrics_path;      /* file or FIFO; required */
	bool emit_id;            /* name the microVM in every line */
	struct json_t *properties; /* owned: an object of strings for every line; NULL = none */
};

struct config {
	struct config_boot_source boot_source;
	struct config_machine machine;
	unsigned int n_drives;
	struct config_drive drives[CONFIG_DRIVES_MAX];
	unsigned int n_nets;
	struct config_net nets[CONFIG_NETS_MAX];
	struct config_vsock vsock;
	struct config_mmds mmds;
	struct config_entropy entropy;
	struct config_balloon balloon;
	struct config_serial serial;
	struct config_logger logger;
	struct config_metrics metrics;
};

void config_init(struct config *config); /* defaults */
void config_release(struct config *config);

/* Without what concerns objects that are missing: of a config that isn't complete yet. */
int config_validate_objects(const struct config *config, struct error *err);

/* Free what one object owns and zero it. */
void config_boot_source_release(struct config_boot_source *boot_source);
void config_drive_release(struct config_drive *drive);
void config_net_release(struct config_net *net);
void config_vsock_release(struct config_vsock *vsock);
void config_mmds_release(struct config_mmds *mmds);
void config_serial_release(struct config_serial *serial);
void config_logger_release(struct config_logger *logger);
void config_metrics_release(struct config_metrics *metrics);

/*
 * Read path (JSON, at most CONFIG_FILE_MAX bytes, a file or a pipe) into config, which must be
 * initialised. Objects that the file doesn't name keep what config has. Errors begin with
 * `config "PATH"`: syntax errors name line and column, unknown and duplicate keys and values of a
 * wrong type or range name the object and the key; on error config holds what was read so far.
 * Doesn't validate what concerns several fields: config_validate does.
 */
int config_load_json(struct config *config, const char *path, struct error *err);

/*
 * The rules that concern more than one value or the host: required objects, uniqueness, numbers of
 * devices, SMT, huge page multiples, more memory than the host has, or than the balloon may ask for.
 * Errors: -EINVAL.
 */
int config_validate(const struct config *config, struct error *err);

/*
 * Put one object into config: in place of the one with the same id, or as one more. What the whole
 * would be then is validated first, but for objects that are still missing; on error nothing has
 * changed. On success config owns what the object owned, and the object is empty.
 */
int config_put_boot_source(struct config *config, struct config_boot_source *boot, struct error *err);
int config_put_machine(struct config *config, const struct config_machine *machine, struct error *err);
int config_put_drive(struct config *config, struct config_drive *drive, struct error *err);
int config_put_net(struct config *config, struct config_net *net, struct error *err);
int config_put_vsock(struct config *config, struct config_vsock *vsock, struct error *err);
int config_put_entropy(struct config *config, const struct config_entropy *entropy, struct error *err);
int config_put_balloon(struct config *config, const struct config_balloon *balloon, struct error *err);
int config_put_mmds(struct config *config, struct config_mmds *mmds, struct error *err);
int config_put_serial(struct config *config, struct config_serial *serial, struct error *err);

/* The one of that id; NULL if there is none. */
struct config_drive *config_find_drive(struct config *config, const char *id);
struct config_net *config_find_net(struct config *config, const char *id);
/* What the update gives replaces what there is. */
void config_update_limiter(struct config_rate_limiter *limiter, const struct config_rate_limiter *update);

/* Whether what config names is there to be opened later. */
int config_find_file(const char *what, const char *path, struct error *err);

#endif
