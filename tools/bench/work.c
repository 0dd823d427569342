/* SPDX-License-Identifier: Apache-2.0 */
/* The process that measures. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench/boot.h"
#include "vmm/util.h"

static const struct {
	const char *name;
	int (*run)(struct bench *bench, struct error *err);
} benches[] = {
	{ "boot", bench_do_boot },
	{ "io", bench_do_io },
	{ "net", bench_do_net },
	{ "density", bench_do_density },
	{ "api", bench_do_api },
	{ "vsock", bench_do_vsock },
	{ "mmds", bench_do_mmds },
};

void bench_progress(const struct bench *bench, unsigned int round, const char *subject)
{
	if (round == 0)
		fprintf(stderr, "warm-up: %s\n", subject);
	else
		fprintf(stderr, "round %u of %u: %s\n", round, bench->options->rounds, subject);
}

int bench_add_subjects(struct bench *bench, struct error *err)
{
	for (unsigned int i = 0; i < bench->subjects->n; i++) {
		const struct subject *s = &bench->subjects->all[i];

		if (!bench_subject_add(bench->result, s->kind->name, s->version,
				       !subject_is_mote(s) && !subject_is_mote_run(s), err))
			return -err->errnum;
	}
	return 0;
}

int bench_work(const struct bench_options *options, const struct bench_files *files, struct trace *trace,
	       struct bench_result *result, struct error *err)
{
	static struct place place;
	static struct subjects subjects;
	struct bench bench = { .options = options, .files = files, .trace = trace, .place = &place,
			       .subjects = &subjects, .result = result };
	int rc = subjects_find(&subjects, options, files, trace->name, &place, result, err);

	place.cold = options->cold;
	if (rc == 0 && files->system_map)
		rc = place_add(&place, files->system_map, "/bench/System.map", false, err);
	if (rc == 0)
		rc = place_enter(&place, err);
	place_free(&place);
	if (rc == 0 && trace->dir >= 0)
		rc = trace_follow(trace, place.outside_pid, err);
	if (rc == 0)
		rc = subjects_prepare(&subjects, result, err);
	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(benches); i++)
		if (strcmp(benches[i].name, options->what) == 0)
			rc = benches[i].run(&bench, err);
	return rc;
}
