/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM's metadata service (Firecracker's MMDS, versions 1 and 2): what a request of the guest
 * is answered. The layers, each of which knows only the one before it:
 *
 *	store, tokens	the data, and who may read it
 *	service		request -> response
 *	http		bytes -> request, response -> bytes
 *	tcp		segments <-> bytes, of one connection
 *	stack		frames <-> segments: Ethernet, ARP, IPv4, all connections of an interface
 *	virtio/net_mmds	an interface's frames to and from the stack; the clock
 *
 * There's no socket: frames for the service's address never reach the tap. The guest is hostile, so
 * whatever it sends costs bounded memory and time.
 *
 * Only for the event loop's thread.
 */
#ifndef MOTE_DEVICES_MMDS_SERVICE_H
#define MOTE_DEVICES_MMDS_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/mmds/store.h"
#include "devices/mmds/tokens.h"

enum mmds_version {
	MMDS_V1, /* everybody may read */
	MMDS_V2, /* only with a token */
};

/* Firecracker's names and meanings. */
struct mmds_counters {
	uint64_t rx_accepted;	      /* frames taken from the guest */
	uint64_t rx_accepted_err;     /* of them, those that can't be understood */
	uint64_t rx_accepted_unusual; /* of them, those that are nothing for a connection */
	uint64_t rx_count;	      /* of them, those that were */
	uint64_t rx_no_token, rx_invalid_token; /* GET requests */
	uint64_t tx_bytes, tx_frames, tx_count; /* to the guest; count: TCP segments */
	uint64_t tx_errors; /* responses for which there was no memory */
	uint64_t connections_created, connections_destroyed;
};

struct mmds {
	struct mmds_store store;
	struct mmds_tokens tokens;
	enum mmds_version version;
	bool imds_compat; /* whatever a request asks for, answer in EC2's format */
	struct mmds_counters counters;
};

/* size_limit: of the data, in bytes. Errors: those of mmds_tokens_init(). */
int mmds_init(struct mmds *mmds, size_t size_limit, struct error *err);
void mmds_release(struct mmds *mmds);

/* A request that is complete and well-formed; strings are borrowed, NULL = the header wasn't there. */
struct mmds_request {
	bool get, put;	       /* neither: another method */
	const char *path;      /* with what follows it, a query too; "" = the URI has none */
	bool wants_json;
	const char *token;     /* X-metadata-token or EC2's name for it */
	const char *ttl;       /* ...-token-ttl-seconds ... */
	const char *ttl_name;  /* ... and how the guest spelt that */
	const char *forwarded; /* how it spelt X-Forwarded-For */
};

struct mmds_response {
	unsigned int status;
	bool json;
	bool allow;    /* say which methods there are */
	uint32_t ttl;  /* 0 = none; else to be said by a header of the name that the request had */
	char *body;    /* to be freed; NULL = no memory */
};

void mmds_answer(struct mmds *mmds, const struct mmds_request *request, uint64_t now,
		 struct mmds_response *response);

/*
 * Saved state: this, and behind it text_size bytes of JSON. Tokens aren't in it, nor connections:
 * guests that start from the same state have to ask for their own.
 */
struct mmds_state {
	uint8_t version;     /* enum mmds_version */
	uint8_t imds_compat; /* 0 or 1 */
	uint8_t filled;	     /* 0: nothing was put, and there's no text */
	uint8_t reserved[5];
	uint64_t text_size;
};

/* The state in *buf, to be freed. Errors: -ENOMEM. */
int mmds_save(const struct mmds *mmds, void **buf, size_t *size, struct error *err);
/* It may come from somebody else's file: everything is checked. Errors: -EINVAL, -EFBIG, -ENOMEM. */
int mmds_restore(struct mmds *mmds, const void *buf, size_t size, struct error *err);

#endif
