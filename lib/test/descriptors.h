/* SPDX-License-Identifier: MIT */
/* How many descriptors the process has. */
#ifndef CSVN_TEST_DESCRIPTORS_H
#define CSVN_TEST_DESCRIPTORS_H

#include <dirent.h>

#include "check.h"

static inline int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int count = 0;

	CHECK(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

#endif
