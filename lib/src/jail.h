/* SPDX-License-Identifier: MIT */
/*
 * A port's jail. A port reads what a guest's front-end sends, so one day somebody else may be at its wheel. From here on it can use the
 * descriptors that it has, get more from the other ends of those, make sockets of TCP and UDP, and ask for memory; whatever else it tries, it
 * is refused or dies. Four walls, each of which would do alone for most of it: no rights (user, groups, capabilities), no way to new ones
 * (no_new_privs), no file systems (Landlock), no other system calls (seccomp, see jail_filter.h).
 */
#ifndef CSVN_JAIL_H
#define CSVN_JAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct jail {
	uid_t uid; /* (uid_t)-1: as it is */
	gid_t gid; /* (gid_t)-1: as it is */
	uint64_t descriptors; /* at most; fewer where the process may have fewer now */
	bool binds_low_ports; /* it keeps CAP_NET_BIND_SERVICE, if it has it */
};

/*
 * Enter it, for good: in a process of one thread, that has all it needs of files and memfds. 0; 1: it is in, but a wall is missing, because the
 * system or the build has none, and why says which ones; or -errno, and why says what failed: then the process must end.
 */
int jail_enter(const struct jail *j, char *why, size_t why_bytes);

#endif
