/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's trace as text, and what is read out of it: marks, stages, counts, the guest's data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "tools/bench/digest.h"
#include "vmm/util.h"

/* As Linux 6.1 prints it: mote-bench is 100, the monitor 144, its vCPU thread 145. */
static const char text[] =
	"# tracer: nop\n"
	"#\n"
	"# entries-in-buffer/entries-written: 19/19   #P:1\n"
	"#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
	"            mote-100     [000] .....     1.000000: sys_enter: NR 7 (3, 2, 0, 0, 0, 0)\n"
	"            mote-144     [000] .....     1.000100: sys_exit: NR 33 = 1\n"
	"            mote-144     [000] .....     1.000200: sys_exit: NR 59 = -2\n"
	"        mote-vmm-144     [000] .....     1.000300: sys_exit: NR 59 = 0\n"
	"        mote-vmm-144     [000] .....     1.000400: sys_enter: NR 0 (3, 7ffe, 10, 0, 0, 0)\n"
	"        mote-vmm-144     [000] .....     1.000410: sys_exit: NR 0 = 2048\n"
	"            mote-100     [000] .....     1.000420: sys_exit: NR 0 = 4096\n"
	"        mote-vmm-144     [000] .....     1.000430: sys_exit: NR 0 = -11\n"
	"        mote-vmm-144     [000] .....     1.000500: sys_enter: NR 16 (5, ae01, 0, 0, 0, 0)\n"
	"          vcpu 0-145     [000] .....     1.000600: sys_enter: NR 16 (b, ae80, 0, 0, 0, 0)\n"
	"          vcpu 0-145     [000] d..1.     1.000700: kvm_entry: vcpu 0, rip 0x1000000\n"
	"          vcpu 0-145     [000] .....     1.000800: kvm_exit: vcpu 0 reason npf rip 0x1000001 info1 "
	"0x0000000100000014 info2 0x0000000001000000 intr_info 0x00000000 error_code 0x00000000\n"
	"          vcpu 0-145     [000] .....     1.000900: kvm_exit: vcpu 0 reason npf rip 0xffffffff81000000 info1 0x0\n"
	"          vcpu 0-145     [000] .....     1.001000: kvm_mmio: mmio write len 1 gpa 0xc0000000 val 0x7b\n"
	"          vcpu 0-145     [000] .....     1.001100: kvm_userspace_exit: reason KVM_EXIT_MMIO (6)\n"
	"          vcpu 0-145     [000] .....     1.001110: kvm_userspace_exit: reason restart (4)\n"
	"          vcpu 0-145     [000] .....     1.001200: kvm_mmio: mmio write len 8 gpa 0xc0000100 val 0x6867666564636261\n"
	"          vcpu 0-145     [000] .....     1.001300: kvm_mmio: mmio write len 8 gpa 0xc0000100 val 0xa69\n"
	"          vcpu 0-145     [000] .....     1.001400: kvm_exit: vcpu 0 reason msr rip 0xffffffff81000010 info1 0x0\n";

static void a_line_is_an_event(void **state)
{
	struct trace_event e;

	(void)state;
	assert_true(trace_parse_line("          vcpu 0-145     [003] d..1. 12345.678901: kvm_entry: vcpu 0, rip 0xfff0", &e));
	assert_int_equal(e.kind, TRACE_ENTRY);
	assert_int_equal(e.pid, 145);
	assert_int_equal(e.at_ns, 12345678901000);
	assert_int_equal(e.value, 0xfff0);
	assert_true(trace_parse_line("     a b: kvm_ex-7       [000] .....     2.000001: sys_exit: NR 1 = -11", &e));
	assert_int_equal(e.kind, TRACE_SYS_EXIT);
	assert_int_equal(e.pid, 7);
	assert_int_equal(e.value, 1);
	assert_int_equal((int64_t)e.data, -11);
	/* Longer numbers; VMX's reasons are upper case. */
	assert_true(trace_parse_line("       CPU 0/KVM-1234567 [127] ..... 2.000001: kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x10 info1 0", &e));
	assert_string_equal(e.reason, "EPT_VIOLATION");
	assert_int_equal(e.value, 16);
}

static void what_is_no_event_is_none(void **state)
{
	static const char *const lines[] = {
		"", "\n", "# tracer: nop", "          vcpu 0-145", "          vcpu 0-145     [000] .....     1.0006",
		"          vcpu 0-145     [000] .....     1.000600: kvm_pio: pio_write at 0x80 size 1 count 1 val 0x1",
		"          vcpu 0-145     [000] .....     1.000600: kvm_entry: vcpu 0",
		"          vcpu 0-145     [000] .....     1.000600: kvm_exit: vcpu 0 rip 0x10",
		"          vcpu 0-145     [000] .....     1.000600: kvm_mmio: mmio read len 4 gpa 0xc0000000 val 0x0",
		"CPU:0 [LOST 25 EVENTS]",
	};
	struct trace_event e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (trace_parse_line(lines[i], &e))
			fail_msg("\"%s\" is an event", lines[i]);
}

static void what_was_lost_is_said(void **state)
{
	struct trace_log log;

	(void)state;
	assert_int_equal(trace_parse(&log, "# entries-in-buffer/entries-written: 90/100   #P:2\n", NULL), 0);
	assert_int_equal(log.n, 0);
	assert_int_equal(log.lost, 10);
	trace_log_free(&log);
	assert_int_equal(trace_parse(&log, "", NULL), 0);
	assert_int_equal(log.n, 0);
}

static void totals_are_of_the_monitor_from_exec_on(void **state)
{
	struct digest_totals totals;
	struct trace_log log;

	(void)state;
	assert_int_equal(trace_parse(&log, text, NULL), 0);
	assert_int_equal(log.n, 19);
	assert_int_equal(log.lost, 0);
	assert_int_equal(digest_mark_ns(&log), 1001000000);
	assert_int_equal(digest_exec_ns(&log, 100), 1000300000);
	digest_totals(&log, 100, &totals);
	assert_int_equal(totals.exits, 3);
	assert_int_equal(totals.to_user, 2);
	assert_int_equal(totals.system_calls, 3);
	assert_int_equal(totals.bytes, 2048);
	trace_log_free(&log);
}

static uint64_t count(const struct bench_subject *subject, const char *group, const char *name)
{
	const struct bench_group *g = bench_group_find(subject, group);

	for (size_t i = 0; g && i < g->n_counts; i++)
		if (strcmp(g->counts[i].name, name) == 0)
			return g->counts[i].count;
	return 0;
}

static void counts_have_names(void **state)
{
	cleanup_bench_result struct bench_result *result = bench_result_new("boot", NULL);
	struct bench_subject *subject = bench_subject_add(result, "mote", "", false, NULL);
	char buffer[24];
	struct trace_log log;

	(void)state;
	assert_int_equal(trace_parse(&log, text, NULL), 0);
	assert_int_equal(digest_counts(&log, 100, subject, NULL), 0);
	assert_int_equal(count(subject, "exits by reason", "npf"), 2);
	assert_int_equal(count(subject, "exits by reason", "msr"), 1);
	assert_int_equal(count(subject, "exits to user space", "MMIO"), 1);
	assert_int_equal(count(subject, "exits to user space", "restart"), 1);
	assert_int_equal(count(subject, "system calls", "ioctl"), 2);
	assert_int_equal(count(subject, "system calls", "read"), 1);
	assert_int_equal(count(subject, "system calls", "poll"), 0);
	assert_string_equal(digest_syscall_name(SYS_clone3, buffer), "clone3");
	assert_string_equal(digest_syscall_name(99999, buffer), "#99999");
	trace_log_free(&log);
}

static void assert_stage(const struct bench_subject *subject, size_t i, const char *name, double start, double end)
{
	const struct bench_span *span = &subject->timeline.stages.spans[i];

	assert_true(i < subject->timeline.stages.n);
	assert_string_equal(span->name, name);
	if (span->start_ms < start - 1e-6 || span->start_ms > start + 1e-6 || span->end_ms < end - 1e-6 ||
	    span->end_ms > end + 1e-6)
		fail_msg("%s: %f to %f, not %f to %f", name, span->start_ms, span->end_ms, start, end);
}

static void stages_of_a_peer_are_seen_from_outside(void **state)
{
	cleanup_bench_result struct bench_result *result = bench_result_new("boot", NULL);
	struct bench_subject *subject = bench_subject_add(result, "qemu-microvm", "", true, NULL);
	struct trace_log log;
	struct digest_run run = { .log = &log, .start_ns = 1000000000, .end_ns = 1002000000, .own = 100 };

	(void)state;
	assert_int_equal(trace_parse(&log, text, NULL), 0);
	assert_int_equal(digest_timeline(&run, subject, NULL), 0);
	assert_int_equal(subject->timeline.stages.n, 6);
	assert_stage(subject, 0, "exec", 0, 0.3);
	assert_stage(subject, 1, "to KVM_CREATE_VM", 0.3, 0.5);
	assert_stage(subject, 2, "to KVM_RUN", 0.5, 0.6);
	assert_stage(subject, 3, "first guest instruction", 0.6, 0.7);
	assert_stage(subject, 4, "firmware, kernel to init", 0.7, 1.0);
	assert_stage(subject, 5, "end", 1.0, 2.0);
	assert_int_equal(subject->timeline.n_exits, 3);
	assert_string_equal(subject->timeline.exits[2].reason, "msr");
	trace_log_free(&log);
}

static void stages_of_mote_are_its_own(void **state)
{
	cleanup_bench_result struct bench_result *result = bench_result_new("boot", NULL);
	struct bench_subject *subject = bench_subject_add(result, "mote", "", false, NULL);
	/* 1.000350 s and so on; running lies within the microsecond of the first entry. */
	const struct mote_stages stages = {
		.start = 1000350000, .configured = 1000360000, .loaded = 1000450000, .prepared = 1000460000,
		.built = 1000500000, .running = 1000700400,
	};
	struct trace_log log;
	struct digest_run run = { .log = &log, .stages = &stages, .start_ns = 1000000000, .end_ns = 1002000000,
				  .own = 100, .bzimage = true };

	(void)state;
	assert_int_equal(trace_parse(&log, text, NULL), 0);
	assert_int_equal(digest_timeline(&run, subject, NULL), 0);
	assert_int_equal(subject->timeline.stages.n, 11);
	assert_stage(subject, 1, "program start", 0.3, 0.35);
	assert_stage(subject, 3, "kernel loaded", 0.36, 0.45);
	assert_stage(subject, 6, "threads, filters", 0.5, 0.7004);
	assert_stage(subject, 7, "first guest instruction", 0.7004, 0.7004);
	assert_stage(subject, 8, "decompress", 0.7004, 0.9);
	assert_stage(subject, 9, "kernel to init", 0.9, 1.0);
	trace_log_free(&log);
}

static void data_come_in_words(void **state)
{
	struct trace_log log;

	(void)state;
	assert_int_equal(trace_parse(&log, text, NULL), 0);
	cleanup_free char *data = digest_data(&log);

	assert_string_equal(data, "abcdefghi\n");
	trace_log_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_an_event),
		cmocka_unit_test(what_is_no_event_is_none),
		cmocka_unit_test(what_was_lost_is_said),
		cmocka_unit_test(totals_are_of_the_monitor_from_exec_on),
		cmocka_unit_test(counts_have_names),
		cmocka_unit_test(stages_of_a_peer_are_seen_from_outside),
		cmocka_unit_test(stages_of_mote_are_its_own),
		cmocka_unit_test(data_come_in_words),
	};

	return cmocka_run_group_tests_name("bench_trace", tests, NULL, NULL);
}
