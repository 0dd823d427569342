/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench density`: the memory of idle microVMs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench/boot.h"
#include "tools/bench/hostdev.h"
#include "tools/bench/smaps.h"
#include "vmm/util.h"

#define GUESTS_MAX 64
#define ARGS	   KERNEL_ARGS " console=ttyS0 -- idle"
/* For what a guest still does after its init has begun to wait. */
#define SETTLE_US  500000

enum { PRIVATE, PSS, RAM, FIGURES };

static const struct {
	const char *name, *title;
} figures[FIGURES] = {
	[PRIVATE] = { "private", "private, a microVM" },
	[PSS] = { "pss", "proportional share, a microVM" },
	[RAM] = { "guest_ram", "touched of the guest's RAM" },
};

struct guests {
	unsigned int n;
	struct hostdev_disk disks[GUESTS_MAX];
	struct launch *launches;
};

struct mappings {
	struct bench_subject *subject;
	struct error *err;
};

static int count_mapping(void *context, const char *name, uint64_t kib)
{
	const struct mappings *m = context;

	return bench_count_add(m->subject, "private KiB of a microVM by mapping", name, kib, m->err);
}

static int start_one(const struct bench *bench, const struct subject *subject, struct guests *guests,
		     unsigned int i, struct error *err)
{
	cleanup_launch_argv struct launch_argv argv = { 0 };
	char tap[16];
	const struct guest guest = { .args = ARGS, .console = true, .memory_mib = bench->options->memory_mib,
				     .vcpus = bench->options->vcpus, .disk = guests->disks[i].path, .tap = tap };

	snprintf(tap, sizeof(tap), "mote%u", i);
	int rc = subject->kind->command(subject, &guest, &argv, err);

	if (rc == 0)
		rc = launch_start(&guests->launches[i], &argv, err);
	return rc == 0 ? launch_await(&guests->launches[i], "idle", BENCH_TIMEOUT_S, err) : rc;
}

/* Adds monitor i to the sums; its mappings to subject, if not NULL. */
static int add_one(const struct bench *bench, pid_t pid, double sums[FIGURES], struct bench_subject *subject,
		   struct error *err)
{
	struct mappings mappings = { subject, err };
	struct smaps_totals totals;
	int rc = smaps_read_pid(pid, bench->options->memory_mib, &totals, subject ? count_mapping : NULL,
				&mappings, err);

	if (rc < 0)
		return rc;
	sums[PRIVATE] += (double)totals.private_kib;
	sums[PSS] += (double)totals.pss_kib;
	sums[RAM] += (double)totals.ram_kib;
	return 0;
}

/* Means over all guests of a round; last: the mappings of the first one into subject. */
static int measure(const struct bench *bench, unsigned int i, struct guests *guests, bool last,
		   double means[FIGURES], struct error *err)
{
	const struct subject *subject = &bench->subjects->all[i];
	unsigned int started = 0;
	int rc = 0;

	memset(means, 0, FIGURES * sizeof(means[0]));
	while (rc == 0 && started < guests->n)
		rc = start_one(bench, subject, guests, started++, err);
	usleep(SETTLE_US);
	for (unsigned int g = 0; rc == 0 && g < guests->n; g++)
		rc = add_one(bench, guests->launches[g].pid, means,
			     last && g == 0 ? &bench->result->subjects[i] : NULL, err);
	for (unsigned int g = 0; g < started; g++)
		launch_release(&guests->launches[g]);
	for (unsigned int f = 0; f < FIGURES; f++)
		means[f] /= guests->n;
	return rc < 0 ? error_wrap(err, "%s", subject->kind->name) : 0;
}

static int add_values(const struct bench *bench, unsigned int i, const double means[FIGURES],
		      struct error *err)
{
	struct bench_subject *subject = &bench->result->subjects[i];

	for (unsigned int f = 0; f < FIGURES; f++) {
		struct bench_figure *figure = bench_figure_find(subject, figures[f].name);

		if (!figure)
			figure = bench_figure_add(subject, figures[f].name, figures[f].title, "KiB", BENCH_LOWER, err);
		if (!figure || bench_value_add(figure, means[f], err) < 0)
			return -err->errnum;
	}
	return 0;
}

static int warm_up(struct bench *bench, struct guests *guests, struct error *err)
{
	double means[FIGURES];
	struct error why;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < bench->subjects->n;) {
		bench_progress(bench, 0, bench->subjects->all[i].kind->name);
		if (measure(bench, i, guests, false, means, i ? &why : err) == 0)
			i++;
		else if (i == 0)
			return -err->errnum;
		else
			rc = subjects_leave_out(bench->subjects, i, bench->result, &why, err);
	}
	return rc;
}

static int run_rounds(struct bench *bench, struct guests *guests, struct error *err)
{
	unsigned int rounds = bench->options->rounds;
	double means[SUBJECTS_MAX][FIGURES];
	int rc = warm_up(bench, guests, err);

	if (rc == 0)
		rc = bench_add_subjects(bench, err);
	for (unsigned int r = 1; rc == 0 && r <= rounds; r++) {
		for (unsigned int i = 0; rc == 0 && i < bench->subjects->n; i++) {
			bench_progress(bench, r, bench->subjects->all[i].kind->name);
			rc = measure(bench, i, guests, r == rounds, means[i], err);
		}
		for (unsigned int i = 0; rc == 0 && i < bench->subjects->n; i++)
			rc = add_values(bench, i, means[i], err);
	}
	return rc;
}

int bench_do_density(struct bench *bench, struct error *err)
{
	struct guests guests = { .n = bench->options->guests };
	unsigned int made = 0;
	char tap[16];
	int rc = 0;

	guests.launches = calloc(guests.n, sizeof(*guests.launches));
	if (!guests.launches)
		return error_sys(err, ENOMEM, "%u guests", guests.n);
	while (rc == 0 && made < guests.n) {
		snprintf(tap, sizeof(tap), "mote%u", made);
		rc = hostdev_tap_make(tap, NULL, err);
		if (rc == 0)
			rc = hostdev_disk_open(&guests.disks[made++], "/bench", 0, 1, err);
	}
	if (rc == 0)
		rc = run_rounds(bench, &guests, err);
	while (made > 0)
		hostdev_disk_close(&guests.disks[--made]);
	free(guests.launches);
	return rc;
}
