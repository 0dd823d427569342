/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service's data, tokens, and saved state. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "devices/mmds/service.h"
#include "vmm/util.h"

static json_t *parse(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(value);
	return value;
}

static int put(struct mmds_store *store, const char *text, struct error *err)
{
	json_t *value = parse(text);
	int r = mmds_store_put(store, value, err);

	json_decref(value);
	return r;
}

static int patch(struct mmds_store *store, const char *text, struct error *err)
{
	json_t *value = parse(text);
	int r = mmds_store_patch(store, value, err);

	json_decref(value);
	return r;
}

static void expect_text(const struct mmds_store *store, const char *expected)
{
	cleanup_free char *text = mmds_store_text(store);

	assert_string_equal(text, expected);
}

/* RFC 7396, appendix A: original, patch, result (compact, keys in order). */
static void merges_as_the_rfc_says(void **state)
{
	static const char *const examples[][3] = {
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
		{ "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
		{ "{\"a\":\"foo\"}", "null", "null" },
		{ "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
		{ "{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}" },
		{ "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(examples); i++) {
		struct error err = { 0 };
		struct mmds_store store;

		mmds_store_init(&store, MMDS_SIZE_LIMIT);
		assert_int_equal(put(&store, examples[i][0], &err), 0);
		assert_int_equal(patch(&store, examples[i][1], &err), 0);
		expect_text(&store, examples[i][2]);
		mmds_store_release(&store);
	}
}

static void replaces_and_keeps_a_copy_of_its_own(void **state)
{
	json_t *value = parse("{\"b\": {\"c\": 1}, \"a\": \"x\"}");
	struct error err = { 0 };
	struct mmds_store store;

	(void)state;
	mmds_store_init(&store, MMDS_SIZE_LIMIT);
	expect_text(&store, "null");
	assert_int_equal(mmds_store_put(&store, value, &err), 0);
	json_object_set_new(json_object_get(value, "b"), "c", json_integer(2));
	json_decref(value);
	expect_text(&store, "{\"a\":\"x\",\"b\":{\"c\":1}}");
	assert_int_equal(put(&store, "{\"d\": 2}", &err), 0);
	expect_text(&store, "{\"d\":2}");
	mmds_store_release(&store);
}

static void refuses_what_is_too_large_and_keeps_what_it_has(void **state)
{
	struct error err = { 0 };
	struct mmds_store store;

	(void)state;
	mmds_store_init(&store, 16);
	assert_int_equal(patch(&store, "{\"a\":1}", &err), -ENOENT);
	assert_string_equal(err.message, "mmds: nothing to patch: the store is empty");
	/* Spaces don't count: 16 bytes, and 17. */
	assert_int_equal(put(&store, "{ \"a\" : \"12345678\" }", &err), 0);
	assert_int_equal(put(&store, "{\"a\":\"123456789\"}", &err), -EFBIG);
	assert_string_equal(err.message, "mmds: 17 bytes of JSON, at most 16 are allowed");
	assert_int_equal(patch(&store, "{\"b\":1}", &err), -EFBIG);
	expect_text(&store, "{\"a\":\"12345678\"}");
	assert_int_equal(patch(&store, "{\"a\":null,\"b\":123456}", &err), 0);
	expect_text(&store, "{\"b\":123456}");
	mmds_store_release(&store);
}

static void numbers_stay_what_they_are(void **state)
{
	static const char *const numbers[] = {
		"[12.12]", "[0.1,-24]", "[9007199254740993,1.0]", "[0.30000000000000004]", "[1e+300]",
		"[9223372036854775807]",
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct error err = { 0 };
		struct mmds_store store;

		mmds_store_init(&store, MMDS_SIZE_LIMIT);
		assert_int_equal(put(&store, numbers[i], &err), 0);
		expect_text(&store, strcmp(numbers[i], "[1e+300]") ? numbers[i] : "[1e300]");
		mmds_store_release(&store);
	}
}

#define DATA                                                                                       \
	"{\"name\":{\"second\":\"Doe\",\"first\":\"John\"},\"age\":43,\"phones\":[\"+40\",\"+44\"]," \
	"\"member\":false,\"none\":null,\"part\":12.12,\"empty\":{},\"a/b\":{\"c~d\":\"x\"},\"~1\":\"t\"}"

static void finds_by_path(void **state)
{
	static const struct {
		const char *path;
		int json_r, imds_r;
		const char *json, *imds;
	} cases[] = {
		{ "/name/first", 0, 0, "\"John\"", "John" },
		{ "/name", 0, 0, "{\"first\":\"John\",\"second\":\"Doe\"}", "first\nsecond" },
		{ "/name/", 0, 0, "{\"first\":\"John\",\"second\":\"Doe\"}", "first\nsecond" },
		{ "///name//first///", 0, 0, "\"John\"", "John" },
		{ "/age", 0, -EOPNOTSUPP, "43", NULL },
		{ "/phones", 0, -EOPNOTSUPP, "[\"+40\",\"+44\"]", NULL },
		{ "/phones/0", 0, 0, "\"+40\"", "+40" },
		{ "/phones/1/", 0, 0, "\"+44\"", "+44" },
		{ "/phones/2", -ENOENT, -ENOENT, NULL, NULL },
		{ "/phones/01", -ENOENT, -ENOENT, NULL, NULL },
		{ "/phones/+1", -ENOENT, -ENOENT, NULL, NULL },
		{ "/phones/-", -ENOENT, -ENOENT, NULL, NULL },
		{ "/phones/99999999999999999999", -ENOENT, -ENOENT, NULL, NULL },
		{ "/phones/4294967296", -ENOENT, -ENOENT, NULL, NULL },
		{ "/member", 0, -EOPNOTSUPP, "false", NULL },
		{ "/none", 0, -EOPNOTSUPP, "null", NULL },
		{ "/part", 0, -EOPNOTSUPP, "12.12", NULL },
		{ "/empty", 0, 0, "{}", "" },
		{ "/a~1b/c~0d", 0, 0, "\"x\"", "x" },
		{ "/~01", 0, 0, "\"t\"", "t" },
		{ "/a/b", -ENOENT, -ENOENT, NULL, NULL },
		{ "/a~2b", -ENOENT, -ENOENT, NULL, NULL },
		{ "/name/first/x", -ENOENT, -ENOENT, NULL, NULL },
		{ "/age/0", -ENOENT, -ENOENT, NULL, NULL },
		{ "/nam", -ENOENT, -ENOENT, NULL, NULL },
		{ "/names", -ENOENT, -ENOENT, NULL, NULL },
		{ "/name%2Ffirst", -ENOENT, -ENOENT, NULL, NULL },
	};
	struct error err = { 0 };
	struct mmds_store store;
	char *text;

	(void)state;
	mmds_store_init(&store, MMDS_SIZE_LIMIT);
	assert_int_equal(put(&store, DATA, &err), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		text = NULL;
		assert_int_equal(mmds_store_get(&store, cases[i].path, MMDS_JSON, &text), cases[i].json_r);
		if (cases[i].json)
			assert_string_equal(text, cases[i].json);
		free(text);
		text = NULL;
		assert_int_equal(mmds_store_get(&store, cases[i].path, MMDS_IMDS, &text), cases[i].imds_r);
		if (cases[i].imds)
			assert_string_equal(text, cases[i].imds);
		free(text);
	}
	assert_int_equal(mmds_store_get(&store, "/", MMDS_IMDS, &text), 0);
	assert_string_equal(text, "a/b/\nage\nempty/\nmember\nname/\nnone\npart\nphones\n~1");
	free(text);
	mmds_store_release(&store);
}

static void nothing_is_null(void **state)
{
	struct mmds_store store;
	char *text = NULL;

	(void)state;
	mmds_store_init(&store, MMDS_SIZE_LIMIT);
	assert_int_equal(mmds_store_get(&store, "/x", MMDS_JSON, &text), -ENOENT);
	assert_int_equal(mmds_store_get(&store, "/", MMDS_IMDS, &text), -EOPNOTSUPP);
	assert_int_equal(mmds_store_get(&store, "/", MMDS_JSON, &text), 0);
	assert_string_equal(text, "null");
	free(text);
}

/* The reference implementation's vectors: key 00 01 .. 0f; input the first 0, 8, 16 bytes of the same. */
static void siphash_is_siphash(void **state)
{
	const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	uint64_t out[2];

	(void)state;
	siphash128(key, key, 0, out);
	assert_int_equal(out[0], 0xe6a825ba047f81a3);
	assert_int_equal(out[1], 0x930255c71472f66d);
	siphash128(key, key, 1, out);
	assert_int_equal(out[0], 0x61f55862baa9623b);
	assert_int_equal(out[1], 0xb49714f364e2830f);
	siphash128(key, key, 2, out);
	assert_int_equal(out[0], 0xbb54b067caa4e26e);
	assert_int_equal(out[1], 0x77052385bf1533fd);
}

#define S 1000000000ull

static void tokens_end_when_they_say(void **state)
{
	char token[MMDS_TOKEN_LENGTH + 1], other[MMDS_TOKEN_LENGTH + 1];
	struct mmds_tokens tokens, stranger;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(mmds_tokens_init(&tokens, &err), 0);
	assert_int_equal(mmds_tokens_init(&stranger, &err), 0);
	mmds_token_make(&tokens, 100 * S, 60, token);
	mmds_token_make(&tokens, 100 * S, 60, other);
	assert_int_equal(strlen(token), MMDS_TOKEN_LENGTH);
	assert_string_not_equal(token, other);
	assert_true(mmds_token_valid(&tokens, 100 * S, token));
	assert_true(mmds_token_valid(&tokens, 160 * S - 1, token));
	assert_false(mmds_token_valid(&tokens, 160 * S, token));
	assert_false(mmds_token_valid(&stranger, 100 * S, token));
	/* No digit of it can be another one, or none. */
	for (unsigned int i = 0; i < MMDS_TOKEN_LENGTH; i++) {
		strcpy(other, token);
		other[i] = other[i] == '0' ? '1' : '0';
		assert_false(mmds_token_valid(&tokens, 100 * S, other));
		other[i] = i % 2 ? 'G' : ' ';
		assert_false(mmds_token_valid(&tokens, 100 * S, other));
		other[i] = 0;
		assert_false(mmds_token_valid(&tokens, 100 * S, other));
	}
	assert_false(mmds_token_valid(&tokens, 100 * S, ""));
}

static void is_saved_and_restored(void **state)
{
	char token[MMDS_TOKEN_LENGTH + 1];
	struct error err = { 0 };
	struct mmds mmds, other;
	size_t size;
	void *buf;

	(void)state;
	assert_int_equal(mmds_init(&mmds, MMDS_SIZE_LIMIT, &err), 0);
	assert_int_equal(mmds_init(&other, MMDS_SIZE_LIMIT, &err), 0);
	assert_int_equal(put(&mmds.store, "{\"b\":1,\"a\":12.12}", &err), 0);
	mmds.version = MMDS_V2;
	mmds.imds_compat = true;
	mmds_token_make(&mmds.tokens, 0, 60, token);
	assert_int_equal(mmds_save(&mmds, &buf, &size, &err), 0);
	assert_int_equal(size, sizeof(struct mmds_state) + 17);
	assert_int_equal(mmds_restore(&other, buf, size, &err), 0);
	expect_text(&other.store, "{\"a\":12.12,\"b\":1}");
	assert_int_equal(other.version, MMDS_V2);
	assert_true(other.imds_compat);
	assert_false(mmds_token_valid(&other.tokens, 0, token));
	free(buf);

	/* An empty one empties. */
	mmds_store_release(&mmds.store);
	assert_int_equal(mmds_save(&mmds, &buf, &size, &err), 0);
	assert_int_equal(size, sizeof(struct mmds_state));
	assert_int_equal(mmds_restore(&other, buf, size, &err), 0);
	expect_text(&other.store, "null");
	free(buf);
	mmds_release(&other);
}

static void refuses_a_bad_state(void **state)
{
	struct {
		struct mmds_state s;
		char text[8];
	} saved, good = { .s = { .version = 1, .filled = 1, .text_size = 7 }, .text = "{\"a\":1}" };
	struct error err = { 0 };
	struct mmds mmds;
	const size_t size = sizeof(good.s) + 7;

	(void)state;
	assert_int_equal(mmds_init(&mmds, 7, &err), 0);
	assert_int_equal(mmds_restore(&mmds, &good, size, &err), 0);
	for (size_t n = 0; n < size; n++)
		assert_int_equal(mmds_restore(&mmds, &good, n, &err), -EINVAL);
	saved = good;
	saved.s.version = 2;
	assert_int_equal(mmds_restore(&mmds, &saved, size, &err), -EINVAL);
	assert_string_equal(err.message, "mmds: saved state: unknown flags");
	saved = good;
	saved.s.reserved[4] = 1;
	assert_int_equal(mmds_restore(&mmds, &saved, size, &err), -EINVAL);
	saved = good;
	saved.s.filled = 0;
	assert_int_equal(mmds_restore(&mmds, &saved, size, &err), -EINVAL);
	assert_string_equal(err.message, "mmds: saved state: wrong size");
	saved = good;
	saved.s.text_size = UINT64_MAX;
	assert_int_equal(mmds_restore(&mmds, &saved, size, &err), -EINVAL);
	saved = good;
	saved.text[6] = ']';
	assert_int_equal(mmds_restore(&mmds, &saved, size, &err), -EINVAL);
	assert_string_equal(err.message, "mmds: saved data: '}' expected near ']'");
	mmds.store.limit = 6;
	assert_int_equal(mmds_restore(&mmds, &good, size, &err), -EFBIG);
	expect_text(&mmds.store, "{\"a\":1}");
	mmds_release(&mmds);
}

static void forbid_sysinfo(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sysinfo, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(1);
}

/* In a process of its own: nothing in it has sorted before, and it ends if the filter is broken. */
static void many_keys_are_sorted_under_the_filter(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		json_t *value = json_object();
		char key[8], *text;
		struct mmds mmds;

		if (mmds_init(&mmds, 51200, NULL) < 0)
			_exit(2);
		forbid_sysinfo();
		for (unsigned int i = 0; i < 1000; i++) {
			snprintf(key, sizeof(key), "k%03u", 999 - i);
			json_object_set_new(value, key, json_integer(1));
		}
		if (mmds_store_put(&mmds.store, value, NULL) < 0 ||
		    mmds_store_get(&mmds.store, "/", MMDS_IMDS, &text) < 0)
			_exit(3);
		_exit(strncmp(text, "k000\nk001\nk002\n", 15) != 0 || strcmp(text + 4995, "k999") != 0 ? 4 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_as_the_rfc_says),
		cmocka_unit_test(replaces_and_keeps_a_copy_of_its_own),
		cmocka_unit_test(refuses_what_is_too_large_and_keeps_what_it_has),
		cmocka_unit_test(numbers_stay_what_they_are),
		cmocka_unit_test(finds_by_path),
		cmocka_unit_test(nothing_is_null),
		cmocka_unit_test(siphash_is_siphash),
		cmocka_unit_test(tokens_end_when_they_say),
		cmocka_unit_test(is_saved_and_restored),
		cmocka_unit_test(refuses_a_bad_state),
		cmocka_unit_test(many_keys_are_sorted_under_the_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
