/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/thread.h"

#include <signal.h>

#include "vmm/util.h"

static void *run(void *argument)
{
	const struct thread *thread = argument;
	const struct thread_rules *rules = thread->rules;
	struct error err = { 0 };
	int rc = 0;

	pthread_setname_np(pthread_self(), thread->name);
	if (rules)
		rc = rules->apply(rules->context, thread->kind, &err);
	thread->main(thread->owner, rc < 0 ? &err : NULL);
	return NULL;
}

static void signals_of(const struct thread *thread, sigset_t *blocked)
{
	static const int broken[] = { SIGSEGV, SIGBUS, SIGILL, SIGSYS, SIGABRT, SIGFPE };

	sigfillset(blocked);
	for (unsigned int i = 0; i < ARRAY_SIZE(broken); i++)
		sigdelset(blocked, broken[i]);
	if (thread->wake_signal)
		sigdelset(blocked, thread->wake_signal);
}

int thread_start(struct thread *thread, struct error *err)
{
	pthread_attr_t attr;
	sigset_t blocked, before;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return error_sys(err, rc, "thread \"%s\": pthread_attr_init", thread->name);
	if (thread->stack_size)
		pthread_attr_setstacksize(&attr, thread->stack_size);
	/* A thread inherits the mask: set here, there is no moment without it. */
	signals_of(thread, &blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	rc = pthread_create(&thread->id, &attr, run, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	thread->started = rc == 0;
	return rc == 0 ? 0 : error_sys(err, rc, "thread \"%s\": pthread_create", thread->name);
}

void thread_join(struct thread *thread)
{
	if (thread->started)
		pthread_join(thread->id, NULL);
	thread->started = false;
}
