/* SPDX-License-Identifier: Apache-2.0 */
/* Life-cycle names, and what follows from each way of ending. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/state.h"
#include "vmm/util.h"

static void states_have_the_names_that_clients_know(void **state)
{
	(void)state;
	assert_string_equal(vm_state_name(VM_STATE_NOT_STARTED), "Not started");
	assert_string_equal(vm_state_name(VM_STATE_RUNNING), "Running");
	assert_string_equal(vm_state_name(VM_STATE_PAUSED), "Paused");
	assert_string_equal(vm_state_name(VM_STATE_SHUTTING_DOWN), "Shutting down");
	assert_string_equal(vm_state_name(VM_STATE_STOPPED), "Stopped");
	assert_string_equal(vm_state_name(VM_STATE_CRASHED), "Crashed");
	assert_string_equal(vm_state_name(VM_STATES), "Unknown");
}

static void ends_have_the_states_reasons_and_codes_of_the_table(void **state)
{
	static const struct {
		enum vm_end end;
		enum vm_state state;
		int reason;
		int exit_code;
	} expected[] = {
		{ VM_END_POWER_OFF, VM_STATE_STOPPED, VM_STOPPED_SHUTDOWN, 0 },
		{ VM_END_RESET, VM_STATE_STOPPED, VM_STOPPED_SHUTDOWN, 0 },
		{ VM_END_SIGINT, VM_STATE_STOPPED, VM_STOPPED_DESTROYED, 128 + SIGINT },
		{ VM_END_SIGTERM, VM_STATE_STOPPED, VM_STOPPED_DESTROYED, 128 + SIGTERM },
		{ VM_END_SIGHUP, VM_STATE_STOPPED, VM_STOPPED_DESTROYED, 156 },
		{ VM_END_PANIC, VM_STATE_CRASHED, VM_CRASHED_PANICKED, 160 },
		{ VM_END_TRIPLE_FAULT, VM_STATE_CRASHED, VM_CRASHED_UNKNOWN, 161 },
		{ VM_END_KVM_FAILURE, VM_STATE_CRASHED, VM_CRASHED_UNKNOWN, 162 },
		{ VM_END_MONITOR_FAILURE, VM_STATE_STOPPED, VM_STOPPED_CRASHED, 2 },
		{ VM_END_START_FAILURE, VM_STATE_STOPPED, VM_STOPPED_FAILED, 1 },
	};

	(void)state;
	assert_int_equal(ARRAY_SIZE(expected), VM_ENDS - 1); /* all but VM_END_NONE */
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct vm_end_info *info = vm_end_info(expected[i].end);
		bool stopped = expected[i].state == VM_STATE_STOPPED;

		assert_int_equal(info->state, expected[i].state);
		assert_int_equal(stopped ? (int)info->stopped : (int)info->crashed,
				 expected[i].reason);
		assert_int_equal(info->exit_code, expected[i].exit_code);
	}
	assert_int_equal(vm_end_info(VM_END_NONE)->state, VM_STATE_RUNNING);
	assert_int_equal(vm_end_info(VM_END_NONE)->exit_code, 0);
	assert_ptr_equal(vm_end_info((enum vm_end)VM_ENDS), vm_end_info(VM_END_MONITOR_FAILURE));
}

static void ends_have_a_line_of_their_own(void **state)
{
	(void)state;
	for (int i = 0; i < VM_ENDS; i++) {
		const char *line = vm_end_info((enum vm_end)i)->line;

		assert_non_null(line);
		assert_true(strlen(line) > 5);
		assert_null(strchr(line, '\n'));
		for (int other = 0; other < i; other++)
			assert_string_not_equal(line, vm_end_info((enum vm_end)other)->line);
	}
}

static void exit_codes_of_failures_are_told_apart(void **state)
{
	static const enum vm_end failures[] = { VM_END_PANIC,	    VM_END_TRIPLE_FAULT,
						VM_END_KVM_FAILURE, VM_END_MONITOR_FAILURE,
						VM_END_SIGINT,	    VM_END_SIGTERM,
						VM_END_SIGHUP,	    VM_END_START_FAILURE };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(failures); i++) {
		assert_int_not_equal(vm_end_info(failures[i])->exit_code, EXIT_OK);
		for (unsigned int k = 0; k < i; k++)
			assert_int_not_equal(vm_end_info(failures[i])->exit_code,
					     vm_end_info(failures[k])->exit_code);
	}
}

static void signals_that_ask_to_stop_are_known(void **state)
{
	(void)state;
	assert_int_equal(vm_end_of_signal(SIGINT), VM_END_SIGINT);
	assert_int_equal(vm_end_of_signal(SIGTERM), VM_END_SIGTERM);
	assert_int_equal(vm_end_of_signal(SIGHUP), VM_END_SIGHUP);
	assert_int_equal(vm_end_of_signal(SIGWINCH), VM_END_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_have_the_names_that_clients_know),
		cmocka_unit_test(ends_have_the_states_reasons_and_codes_of_the_table),
		cmocka_unit_test(ends_have_a_line_of_their_own),
		cmocka_unit_test(exit_codes_of_failures_are_told_apart),
		cmocka_unit_test(signals_that_ask_to_stop_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
