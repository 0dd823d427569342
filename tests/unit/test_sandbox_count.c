/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what filters allow: small ones, of which it's known, and the built-in ones by trying. */
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "vmm/sandbox/arch.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/util.h"

#define LOAD(field)	 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(op, k, t, f) BPF_JUMP(BPF_JMP | BPF_##op | BPF_K, k, t, f)
#define AND(k)		 BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)
#define ALLOW		 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE		 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

static void expect(const struct sock_filter *insns, uint32_t n, unsigned int allowed,
		   unsigned int conditional)
{
	const struct sandbox_program program = { insns, n };
	struct sandbox_count count;

	sandbox_count(&program, &count);
	assert_int_equal(count.allowed, allowed);
	assert_int_equal(count.conditional, conditional);
}

static void all_or_nothing(void **state)
{
	static const struct sock_filter all[] = { ALLOW }, none[] = { REFUSE };
	static const struct sock_filter logged[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG) };

	(void)state;
	expect(all, 1, 1024, 0);
	expect(none, 1, 0, 0);
	expect(logged, 1, 0, 0); /* it counts what is allowed, and nothing else is said to be */
}

static void by_number(void **state)
{
	static const struct sock_filter equal[] = { LOAD(nr), JUMP(JEQ, 7, 0, 1), ALLOW, REFUSE };
	static const struct sock_filter below[] = { LOAD(nr), JUMP(JGE, 10, 1, 0), ALLOW, REFUSE };
	static const struct sock_filter not_above[] = { LOAD(nr), JUMP(JGT, 10, 1, 0), ALLOW, REFUSE };
	static const struct sock_filter bits[] = { LOAD(nr), JUMP(JSET, 1, 0, 1), ALLOW, REFUSE };
	static const struct sock_filter masked[] = { LOAD(nr), AND(0xff), JUMP(JEQ, 7, 0, 1), ALLOW, REFUSE };
	static const struct sock_filter over[] = {
		LOAD(nr), JUMP(JEQ, 7, 0, 1), BPF_STMT(BPF_JMP | BPF_JA, 1), REFUSE, ALLOW,
	};

	(void)state;
	expect(equal, ARRAY_SIZE(equal), 1, 0);
	expect(below, ARRAY_SIZE(below), 10, 0);
	expect(not_above, ARRAY_SIZE(not_above), 11, 0);
	expect(bits, ARRAY_SIZE(bits), 512, 0);
	expect(masked, ARRAY_SIZE(masked), 4, 0);
	expect(over, ARRAY_SIZE(over), 1, 0);
}

static void other_architectures_do_not_count(void **state)
{
	static const struct sock_filter ours[] = { LOAD(arch), JUMP(JEQ, SANDBOX_ARCH, 0, 1), ALLOW, REFUSE };
	static const struct sock_filter others[] = { LOAD(arch), JUMP(JEQ, SANDBOX_ARCH, 1, 0), ALLOW, REFUSE };

	(void)state;
	expect(ours, ARRAY_SIZE(ours), 1024, 0);
	expect(others, ARRAY_SIZE(others), 0, 0);
}

static void by_argument(void **state)
{
	static const struct sock_filter one[] = {
		LOAD(nr), JUMP(JEQ, 7, 0, 3), LOAD(args[1]), JUMP(JEQ, 5, 0, 1), ALLOW, REFUSE,
	};
	/* Whatever the argument is, and either of two. */
	static const struct sock_filter any[] = {
		LOAD(nr), JUMP(JEQ, 7, 0, 3), LOAD(args[1]), JUMP(JEQ, 5, 0, 0), ALLOW, REFUSE,
	};
	static const struct sock_filter two[] = {
		LOAD(nr), JUMP(JEQ, 7, 0, 4), LOAD(args[1]), JUMP(JEQ, 5, 1, 0), JUMP(JEQ, 6, 0, 1), ALLOW,
		REFUSE,
	};
	static const struct sock_filter without[] = {
		LOAD(nr), JUMP(JEQ, 7, 0, 4), LOAD(args[2]), AND(4), JUMP(JEQ, 0, 0, 1), ALLOW, REFUSE,
	};
	static const struct sock_filter never[] = { LOAD(args[0]), JUMP(JEQ, 5, 0, 0), REFUSE };

	(void)state;
	expect(one, ARRAY_SIZE(one), 1, 1);
	expect(any, ARRAY_SIZE(any), 1, 0);
	expect(two, ARRAY_SIZE(two), 1, 1);
	expect(without, ARRAY_SIZE(without), 1, 1);
	expect(never, ARRAY_SIZE(never), 0, 0);
}

/* Each argument compared doubles the ways; all of them at once must not take for ever. */
static void many_arguments(void **state)
{
	struct sock_filter insns[3 * 250 + 2];
	uint32_t n = 0;

	(void)state;
	for (unsigned int i = 0; i < 250; i++) {
		insns[n++] = (struct sock_filter)LOAD(args[0]);
		insns[n++] = (struct sock_filter)JUMP(JEQ, i, 1, 0);
		insns[n++] = (struct sock_filter)JUMP(JGT, i, 0, 0);
	}
	insns[n++] = (struct sock_filter)JUMP(JEQ, 1000, 0, 1);
	insns[n++] = (struct sock_filter)ALLOW;
	expect(insns, n, 1024, 0);
}

static void filters_have_names(void **state)
{
	(void)state;
	assert_string_equal(sandbox_filter_name(THREAD_VMM), "vmm");
	assert_string_equal(sandbox_filter_name(THREAD_VCPU), "vcpu");
	assert_string_equal(sandbox_filter_name(THREAD_IO), "io");
	assert_string_equal(sandbox_filter_name(FILTER_VMM_API), "vmm-api");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(by_number),
		cmocka_unit_test(other_architectures_do_not_count),
		cmocka_unit_test(by_argument),
		cmocka_unit_test(many_arguments),
		cmocka_unit_test(filters_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
