/* SPDX-License-Identifier: Apache-2.0 */
/* The command lines of mote's peers: struct subject_kind's functions. */
#ifndef MOTE_BENCH_PEERS_H
#define MOTE_BENCH_PEERS_H

#include "tools/bench/subject.h"


int peer_qemu(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	      struct error *err);
int peer_kvmtool(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
		 struct error *err);
int peer_oci(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	     struct error *err);
int peer_oci_prepare(const struct subject *subject, struct error *err);
int peer_bwrap(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	       struct error *err);
int peer_plain(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	       struct error *err);

#endif
