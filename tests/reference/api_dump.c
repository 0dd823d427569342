/* SPDX-License-Identifier: Apache-2.0 */
/* The routes of the API, a line each: method, path, when, and what is missing. */
#include <stdio.h>

#include "vmm/api/routes.h"

int main(void)
{
	static const char *const when[] = {
		[API_ANY_TIME] = "any-time",
		[API_BEFORE_START] = "before-start",
		[API_AFTER_START] = "after-start",
	};
	size_t n;
	const struct api_route *routes = api_routes(&n);

	for (size_t i = 0; i < n; i++)
		printf("%s\t%s\t%s\t%s\n", routes[i].method, routes[i].path, when[routes[i].when],
		       routes[i].missing ? routes[i].missing : "");
	return 0;
}
