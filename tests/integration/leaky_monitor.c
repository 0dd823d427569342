/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for mote-vmm in a jail: says that its guest runs, has no filter and keeps what it shouldn't. */
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void *wait_as(void *name)
{
	prctl(PR_SET_NAME, name);
	while (pause())
		;
	return name;
}

int main(void)
{
	pthread_t thread;

	prctl(PR_SET_NAME, "second"); /* the thread inherits it, so that it has its name from the start */
	if (pthread_create(&thread, NULL, wait_as, "second") != 0)
		return 1;
	prctl(PR_SET_NAME, "leaky");
	if (socket(AF_INET, SOCK_DGRAM, 0) < 0 || write(STDOUT_FILENO, "!", 1) != 1)
		return 1;
	return wait_as("leaky") == NULL;
}
