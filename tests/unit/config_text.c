/* SPDX-License-Identifier: Apache-2.0 */
#include "config_text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/util.h"

char config_text_directory[] = "/tmp/mote-test-config-XXXXXX";
char config_text_path[sizeof(config_text_directory) + 8];

int config_text_setup(void **state)
{
	(void)state;
	if (!mkdtemp(config_text_directory))
		return -1;
	snprintf(config_text_path, sizeof(config_text_path), "%s/c.json", config_text_directory);
	return 0;
}

int config_text_teardown(void **state)
{
	(void)state;
	unlink(config_text_path);
	return rmdir(config_text_directory);
}

void config_text_write(const void *bytes, size_t length)
{
	cleanup_close int fd =
		open(config_text_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
}

int config_text_read(struct config *config, const char *text, struct error *err)
{
	config_text_write(text, strlen(text));
	config_init(config);
	int ret = config_load_json(config, config_text_path, err);

	return ret ? ret : config_validate(config, err);
}

void config_text_refused(const char *text, const char *message)
{
	struct config config;
	struct error err = { 0 };
	char prefix[96];

	assert_true(config_text_read(&config, text, &err) < 0);
	config_release(&config);
	snprintf(prefix, sizeof(prefix), "config \"%s\": ", config_text_path);
	bool from_file = strncmp(err.message, prefix, strlen(prefix)) == 0;

	assert_string_equal(err.message + (from_file ? strlen(prefix) : 0), message);
}
