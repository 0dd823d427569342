/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What busybox can't: run in a Linux guest to make the monitor use every one of its system calls.
 *
 *	exercise disk DEVICE	reads, writes, flushes, discards and zeroes, also unaligned, in flight
 *	exercise vsock PORT	serve host clients, many at once; a first byte says how, q ends
 *	exercise connect PORT	to the host: send a word, print the answer
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 4
#define MIB	(1024 * 1024)

static void check(int ok, const char *what)
{
	if (ok)
		return;
	printf("FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- disk ---- */

static void *read_and_write(void *argument)
{
	int fd = *(int *)argument;
	char *buffer = aligned_alloc(4096, 256 * 1024);

	/* 256 KiB, then 512 bytes off: what the host may have to do by way of a buffer. */
	for (int i = 0; i < 6; i++) {
		check(pread(fd, buffer, 256 * 1024, i * 256 * 1024) == 256 * 1024, "read");
		check(pwrite(fd, buffer, 256 * 1024, i * 256 * 1024) == 256 * 1024, "write");
		check(pread(fd, buffer + 512, 1024, 512) == 1024, "short read");
		check(pwrite(fd, buffer + 512, 1024, 512) == 1024, "short write");
	}
	free(buffer);
	return NULL;
}

static int disk(const char *device)
{
	uint64_t range[2] = { 4 * MIB, MIB };
	pthread_t threads[THREADS];
	int fd = open(device, O_RDWR | O_DIRECT);

	check(fd >= 0, device);
	for (int i = 0; i < THREADS; i++)
		check(pthread_create(&threads[i], NULL, read_and_write, &fd) == 0, "thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check(fsync(fd) == 0, "flush");
	check(ioctl(fd, BLKDISCARD, range) == 0, "discard");
	check(ioctl(fd, BLKZEROOUT, range) == 0, "write zeroes");
	check(fsync(fd) == 0, "flush");
	close(fd);
	return 0;
}

/* ---- vsock ---- */

static struct sockaddr_vm address(unsigned int cid, const char *port)
{
	return (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = cid,
				     .svm_port = (unsigned int)atoi(port) };
}

static void send_much(int fd)
{
	static char data[4 * MIB];

	for (size_t done = 0; done < sizeof(data);) {
		ssize_t n = write(fd, data + done, sizeof(data) - done);

		check(n > 0, "send");
		done += (size_t)n;
	}
}

/* e: echo until the end; r: read no more; w: write no more; m: send 4 MiB. */
static void serve(int fd, char how)
{
	char buffer[4096];
	ssize_t n;

	if (how == 'r')
		check(shutdown(fd, SHUT_RD) == 0, "shutdown");
	if (how == 'w')
		check(shutdown(fd, SHUT_WR) == 0, "shutdown");
	if (how == 'm')
		send_much(fd);
	if (how == 'e')
		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			check(write(fd, buffer, (size_t)n) == n, "echo");
	if (how != 'r')
		while (read(fd, buffer, sizeof(buffer)) > 0)
			;
}

static int listen_to_host(const char *port)
{
	struct sockaddr_vm own = address(VMADDR_CID_ANY, port);
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0);

	check(bind(listener, (struct sockaddr *)&own, sizeof(own)) == 0, "bind");
	check(listen(listener, 8) == 0, "listen");
	printf("LISTENING\n");
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char how = 0;

		check(read(fd, &how, 1) == 1, "first byte");
		if (how == 'q')
			return 0;
		if (fork() == 0) {
			serve(fd, how);
			_exit(0);
		}
		close(fd);
	}
}

static int connect_to_host(const char *port)
{
	struct sockaddr_vm host = address(VMADDR_CID_HOST, port);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	char answer[64] = "";

	check(connect(fd, (struct sockaddr *)&host, sizeof(host)) == 0, "connect");
	check(write(fd, "hello", 5) == 5, "write");
	check(read(fd, answer, sizeof(answer) - 1) > 0, "read");
	printf("ANSWER %s\n", answer);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 3 && strcmp(argv[1], "disk") == 0)
		return disk(argv[2]);
	if (argc == 3 && strcmp(argv[1], "vsock") == 0)
		return listen_to_host(argv[2]);
	if (argc == 3 && strcmp(argv[1], "connect") == 0)
		return connect_to_host(argv[2]);
	return 2;
}
