/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `mote bench WHAT` measured: one struct, which is printed, drawn, compared, and kept as JSON.
 *
 * Everything in it belongs to the bench_result and goes with bench_result_free(). The arrays of
 * subjects and figures have room for all there may be, so pointers that the _add functions return
 * stay valid. Texts that are added are copied, cut to BENCH_TEXT_MAX bytes, and made printable:
 * '?' for control characters and for what isn't UTF-8. What is read is refused instead.
 */
#ifndef MOTE_BENCH_RESULT_H
#define MOTE_BENCH_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

#define BENCH_FORMAT	    1 /* the value of the key "mote_bench" */
#define BENCH_FILE_MAX	    (32u << 20) /* bytes of a file that is read */
#define BENCH_TEXT_MAX	    512	  /* bytes of a text */
#define BENCH_SUBJECTS_MAX  32
#define BENCH_FIGURES_MAX   64	  /* of a subject */
#define BENCH_VALUES_MAX    10000 /* of a figure */
#define BENCH_GROUPS_MAX    16	  /* of counts, of a subject */
#define BENCH_COUNTS_MAX    1024  /* of a group */
#define BENCH_STAGES_MAX    256
#define BENCH_INITCALLS_MAX 4096
#define BENCH_EXITS_MAX	    100000
#define BENCH_LEFT_OUT_MAX  32
#define BENCH_TIME_MAX_MS   1e9 /* of a point in a timeline, which start at 0 */

enum bench_better { BENCH_LOWER, BENCH_HIGHER, BENCH_NONE };

/* One quantity of one subject. Round i is that of every other subject's value i. */
struct bench_figure {
	char *name;  /* for programs: "to_init" */
	char *title; /* for people: "exec to init" */
	char *unit;  /* "ms"; "" for counts */
	enum bench_better better;
	double *values;
	size_t n_values, room;
};

struct bench_count {
	char *name;
	uint64_t count;
};

struct bench_group {
	char *name; /* "exits by reason" */
	struct bench_count *counts;
	size_t n_counts, room;
};

struct bench_span {
	char *name;
	double start_ms, end_ms;
};

struct bench_spans {
	struct bench_span *spans;
	size_t n, room;
};

struct bench_exit {
	double at_ms;
	char *reason;
};

struct bench_timeline {
	struct bench_spans stages, initcalls;
	struct bench_exit *exits;
	size_t n_exits, room;
};

struct bench_subject {
	char *name, *version; /* version may be "" */
	bool peer;	      /* not mote: ratios are mote / peer */
	struct bench_figure figures[BENCH_FIGURES_MAX];
	size_t n_figures;
	struct bench_group groups[BENCH_GROUPS_MAX];
	size_t n_groups;
	struct bench_timeline timeline; /* empty for all but boot */
};

struct bench_left_out {
	char *name, *why;
};

struct bench_result {
	char *what, *date;
	struct {
		char *kernel, *cpu;
		unsigned int cpus;
		bool virtual_time;
	} host;
	/* Flat: strings, integers, booleans. json_object_set_new(result->options, ...) */
	json_t *options;
	/* The first figure of the first subject is the headline: the histogram is of that. */
	struct bench_subject subjects[BENCH_SUBJECTS_MAX];
	size_t n_subjects;
	struct bench_left_out left_out[BENCH_LEFT_OUT_MAX];
	size_t n_left_out;
};

/* what: "boot", "io", ...; the date is now. The host is for the caller to fill in. NULL: ENOMEM. */
struct bench_result *bench_result_new(const char *what, struct error *err);
void bench_result_free(struct bench_result *result);

static inline void cleanup_bench_result_fn(struct bench_result **result)
{
	bench_result_free(*result);
}
#define cleanup_bench_result __attribute__((cleanup(cleanup_bench_result_fn)))

/* *text (malloc'd or NULL) becomes a printable copy of source: for result->host. -ENOMEM. */
int bench_text_set(char **text, const char *source, struct error *err);

/* NULL or a negative errno: -E2BIG no room, -EEXIST that name is there, -EINVAL, -ENOMEM. */
struct bench_subject *bench_subject_add(struct bench_result *result, const char *name,
					const char *version, bool peer, struct error *err);
struct bench_figure *bench_figure_add(struct bench_subject *subject, const char *name,
				      const char *title, const char *unit, enum bench_better better,
				      struct error *err);
int bench_value_add(struct bench_figure *figure, double value, struct error *err);
/* The group and the name in it are made if they aren't there, else the count grows. */
int bench_count_add(struct bench_subject *subject, const char *group, const char *name,
		    uint64_t count, struct error *err);
int bench_stage_add(struct bench_subject *subject, const char *name, double start_ms,
		    double end_ms, struct error *err);
int bench_initcall_add(struct bench_subject *subject, const char *name, double start_ms,
		       double end_ms, struct error *err);
int bench_exit_add(struct bench_subject *subject, double at_ms, const char *reason,
		   struct error *err);
int bench_left_out_add(struct bench_result *result, const char *name, const char *why,
		       struct error *err);

/* NULL if there's none of that name. */
struct bench_subject *bench_subject_find(const struct bench_result *result, const char *name);
struct bench_figure *bench_figure_find(const struct bench_subject *subject, const char *name);
struct bench_group *bench_group_find(const struct bench_subject *subject, const char *name);

/* "lower", "higher", "none", NULL. */
extern const char *const bench_better_names[];

/* As JSON with a line feed at the end. Errors: -ENOMEM, -EIO. */
int bench_result_write(const struct bench_result *result, FILE *out, struct error *err);

/*
 * Read path ("-": stdin), which somebody else may have written: unknown and duplicate keys, values of
 * another type, out of range or too many are refused. Errors name the file and the key.
 */
struct bench_result *bench_result_read(const char *path, struct error *err);
struct bench_result *bench_result_parse(const char *text, size_t length, struct error *err);

/* The text of path as above, at most BENCH_FILE_MAX bytes, with a NUL that *length doesn't count. */
int bench_file_read(const char *path, char **text, size_t *length, struct error *err);

#endif
