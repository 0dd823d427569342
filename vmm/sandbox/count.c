/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter allows, found out by running it: for each system call with all arguments at once,
 * which are not known, so that both sides of what depends on them are taken.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>

#include "vmm/sandbox/arch.h"
#include "vmm/sandbox/filter_file.h"
#include "vmm/sandbox/sandbox.h"

#define SYSCALLS_MAX 1024 /* no architecture has as many */

struct walk {
	const struct sandbox_program *program;
	uint32_t nr;
	bool allows, refuses;
	bool seen[FILTER_INSNS_MAX]; /* with an accumulator that isn't known: once is enough */
};

/* The accumulator. */
struct value {
	bool known;
	uint32_t value;
};

static struct value load(const struct walk *walk, uint32_t offset)
{
	switch (offset) {
	case offsetof(struct seccomp_data, nr):
		return (struct value){ true, walk->nr };
	case offsetof(struct seccomp_data, arch):
		return (struct value){ true, SANDBOX_ARCH };
	default:
		return (struct value){ false, 0 };
	}
}

static bool holds(uint16_t code, uint32_t a, uint32_t k)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return a == k;
	case BPF_JGT:
		return a > k;
	case BPF_JGE:
		return a >= k;
	default:
		return a & k;
	}
}

/* Jumps lead forward only, so this ends; pc behind the end: the kernel takes no such filter. */
static void run(struct walk *walk, uint32_t pc, struct value a)
{
	for (; pc < walk->program->n; pc++) {
		const struct sock_filter *insn = &walk->program->insns[pc];

		if (!a.known && walk->seen[pc])
			return;
		walk->seen[pc] = walk->seen[pc] || !a.known;
		switch (BPF_CLASS(insn->code)) {
		case BPF_LD:
			a = load(walk, insn->k);
			break;
		case BPF_ALU:
			a = (struct value){ a.known && BPF_OP(insn->code) == BPF_AND, a.value & insn->k };
			break;
		case BPF_JMP:
			if (BPF_OP(insn->code) == BPF_JA) {
				pc += insn->k;
				break;
			}
			if (!a.known)
				run(walk, pc + 1 + insn->jf, a);
			pc += a.known && !holds(insn->code, a.value, insn->k) ? insn->jf : insn->jt;
			break;
		case BPF_RET:
			walk->allows = walk->allows || insn->k == SECCOMP_RET_ALLOW;
			walk->refuses = walk->refuses || insn->k != SECCOMP_RET_ALLOW;
			return;
		default:
			a.known = false;
			break;
		}
	}
}

void sandbox_count(const struct sandbox_program *program, struct sandbox_count *count)
{
	*count = (struct sandbox_count){ 0 };
	for (uint32_t nr = 0; nr < SYSCALLS_MAX; nr++) {
		struct walk walk = { .program = program, .nr = nr };

		run(&walk, 0, (struct value){ true, 0 });
		count->allowed += walk.allows;
		count->conditional += walk.allows && walk.refuses;
	}
}
