/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Init of the benchmarks' guests: an initramfs's only program, the same one in every monitor. The
 * kernel gives it what follows " -- " on its command line: NAME [ARGUMENT..]. Results go as text to
 * the console; "boot" and "log" need none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define BOOT_TIMER_GPA	 0xc0000000
#define BOOT_TIMER_VALUE 123
#define DATA_OFFSET	 0x100
#define PAUSE_US	 50000

static const struct {
	const char *name;
	int (*run)(int argc, char *argv[]);
} benches[] = {
	{ "disk", bench_disk },
	{ "net", bench_net },
	{ "vsock", bench_vsock },
	{ "mmds", bench_mmds },
};

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdprintf(STDOUT_FILENO, fmt, ap);
	va_end(ap);
}

int failed(const char *what)
{
	say("error %s: %s\n", what, strerror(errno));
	return -1;
}

void say_begin(const char *name)
{
	say("%s_begin\n", name);
	usleep(PAUSE_US);
}

void say_end(const char *name, uint64_t ns)
{
	say("%s_ns %llu\n", name, (unsigned long long)ns);
	usleep(PAUSE_US);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Where the mark is made, and data are sent (tools/bench/trace.h); NULL without /dev/mem. */
static volatile uint8_t *open_page(void)
{
	volatile uint8_t *page;

	mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1));
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, BOOT_TIMER_GPA);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

/*
 * The mark that boots are measured to: one write, one exit. mote has its boot timer at this address,
 * other monitors have nothing; KVM's trace point tells the time of it for all of them.
 */
static void mark(volatile uint8_t *page)
{
	if (page)
		*page = BOOT_TIMER_VALUE;
}

/* Text to whoever traces KVM: eight bytes a write to an address where no device is. */
static void send(volatile uint8_t *page, const char *text, size_t length)
{
	uint64_t word;

	for (size_t at = 0; page && at < length; at += sizeof(word)) {
		word = 0;
		memcpy(&word, text + at, length - at < sizeof(word) ? length - at : sizeof(word));
		*(volatile uint64_t *)(page + DATA_OFFSET) = word;
	}
}

/* The kernel's records of its initcalls, and one of our own that belongs to the mark. */
static void send_log(volatile uint8_t *page)
{
	/* Without a line feed it could be continued, and not yet be read. */
	static const char own[] = "<7>mote-bench: mark\n", text[] = "mote-bench: mark";
	char record[8192];
	ssize_t n;

	mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || write(fd, own, sizeof(own) - 1) < 0)
		return;
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = 0;
		if (strstr(record, " returned ") || strstr(record, text))
			send(page, record, (size_t)(strchrnul(record, '\n') - record) + 1);
	}
	close(fd);
}

int main(int argc, char *argv[])
{
	uint64_t at = now_ns();
	const char *name = argc > 1 ? argv[1] : "boot";

	volatile uint8_t *page = open_page();

	mark(page);
	if (strcmp(name, "log") == 0)
		send_log(page);
	if (strcmp(name, "boot") != 0 && strcmp(name, "log") != 0) {
		say("kernel_ns %llu\n", (unsigned long long)at);
		mount("none", "/dev", "devtmpfs", 0, NULL);
	}
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
		if (strcmp(name, benches[i].name) == 0)
			benches[i].run(argc - 2, argv + 2);
	if (strcmp(name, "idle") == 0) {
		say("idle\n");
		for (;;)
			pause();
	}
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT); /* without a way to power off */
	for (;;)
		pause();
}
