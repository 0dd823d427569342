/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-agent's relay in a process of its own. It kills every process that it can, so it is the first
 * of a PID namespace, as in a guest; with it everything goes that it started.
 */
#ifndef MOTE_TESTS_AGENT_RIG_H
#define MOTE_TESTS_AGENT_RIG_H

#include <sys/types.h>

#include "tools/agent/agent.h"

/*
 * Run job, or with NULL say READY and take one from the host, as main() does but for mounts and
 * power-off. host becomes the agent's. Skips the test where there can be no PID namespace.
 */
pid_t agent_start(int host, const struct job *job);

/* Asserts that it has ended well. */
void agent_join(pid_t pid);

#endif
