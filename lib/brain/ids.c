/* SPDX-License-Identifier: MIT */
/* May ports have users and groups of their own? */
#define _GNU_SOURCE
#include "ids.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* To change the user and the groups; and to end a process that is another's. */
#define NEEDED (1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL)

static bool has_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & NEEDED) == NEEDED;
}

/* Of a user namespace: are all of them known in it, by one line of its map? */
static bool are_mapped(const char *map, uint32_t first, uint32_t count)
{
	uint64_t inside, outside, length;
	bool found = false;
	FILE *f = fopen(map, "re");

	if (!f)
		return errno == ENOENT; /* a kernel without them */
	while (!found && fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &inside, &outside, &length) == 3)
		found = inside <= first && first - inside + (uint64_t)count <= length;
	fclose(f);
	return found;
}

bool ids_can(uint32_t first)
{
	return has_rights() && are_mapped("/proc/self/uid_map", first, IDS_COUNT) && are_mapped("/proc/self/gid_map", first, IDS_COUNT);
}
