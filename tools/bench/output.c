/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/output.h"

#include <stdio.h>

int bench_output(const struct bench_result *result, const struct bench_options *options, struct error *err)
{
	(void)options;
	return bench_result_write(result, stdout, err);
}
