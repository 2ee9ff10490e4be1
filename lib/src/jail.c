/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "jail.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail_filter.h"

#define CAPABILITIES_MAX 64u

/* Landlock, as <linux/landlock.h> of the latest version that is used here has it. */
#define LANDLOCK_VERSION 1u /* of landlock_create_ruleset(): which version the kernel has */
#define LANDLOCK_SCOPES 3u /* abstract unix sockets, signals */

struct landlock_rules {
	uint64_t files, net, scoped;
};

/* What is being done, so that a failure can be told, and which walls are missing. */
struct entry {
	const char *doing;
	char missing[256];
};

static void miss(struct entry *e, const char *what)
{
	size_t used = strlen(e->missing);

	(void)snprintf(e->missing + used, sizeof(e->missing) - used, "%s%s", used ? "; " : "", what);
}

static int result(int rc)
{
	return rc < 0 ? -errno : 0;
}

static uint64_t bit(uint32_t capability)
{
	return 1ull << capability;
}

/* Permitted ones. */
static int get_capabilities(uint64_t *permitted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static int set_capabilities(uint64_t all)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { (uint32_t)all, (uint32_t)all, 0 },
						  { (uint32_t)(all >> 32), (uint32_t)(all >> 32), 0 } };

	return result((int)syscall(SYS_capset, &header, data));
}

/* A process of several threads would leave the others outside. This changes nothing in one that has no others, and fails in one that has. */
static int check_alone(struct entry *e)
{
	e->doing = "there is another thread";
	if (JAIL_UNFILTERED)
		return 0; /* a sanitizer's may be one */
	return result(unshare(CLONE_THREAD));
}

static int set_limit(int resource, uint64_t most)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -errno;
	if (limit.rlim_max > most)
		limit.rlim_max = most;
	limit.rlim_cur = limit.rlim_max;
	return result(setrlimit(resource, &limit));
}

static int set_limits(struct entry *e, const struct jail *j)
{
	int rc;

	e->doing = "limit of descriptors";
	rc = set_limit(RLIMIT_NOFILE, j->descriptors);
	if (rc < 0)
		return rc;
	e->doing = "limit of core dumps";
	return set_limit(RLIMIT_CORE, 0);
}

/* None that a program could have by being run, from now on. */
static int bound_capabilities(struct entry *e, uint64_t permitted)
{
	e->doing = "bounding set of capabilities";
	if (!(permitted & bit(CAP_SETPCAP)))
		return 0; /* it cannot, and has no way to run one */
	for (uint32_t i = 0; i < CAPABILITIES_MAX && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	return 0;
}

static int become(struct entry *e, const struct jail *j, uint64_t permitted)
{
	uid_t real, effective, saved;

	e->doing = "supplementary groups";
	if (permitted & bit(CAP_SETGID) && setgroups(0, NULL) < 0) {
		/* In a user namespace it may be forbidden, even to root. */
		if (errno != EPERM)
			return -errno;
		miss(e, "the supplementary groups stay");
	}
	e->doing = "group";
	if (j->gid != (gid_t)-1 && setresgid(j->gid, j->gid, j->gid) < 0)
		return -errno;
	e->doing = "user";
	if (j->uid == (uid_t)-1)
		return 0;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(j->uid, j->uid, j->uid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || getresuid(&real, &effective, &saved) < 0)
		return -errno;
	return real == j->uid && effective == j->uid && saved == j->uid ? 0 : -EPERM;
}

static int drop_rights(struct entry *e, const struct jail *j)
{
	uint64_t permitted = 0;
	int rc;

	e->doing = "capabilities";
	rc = get_capabilities(&permitted);
	if (rc == 0)
		rc = set_capabilities(permitted); /* all of them effective, for what follows */
	if (rc < 0)
		return rc;
	rc = bound_capabilities(e, permitted);
	if (rc < 0)
		return rc;
	rc = become(e, j, permitted);
	if (rc < 0)
		return rc;
	e->doing = "capabilities";
	/* Ambient ones are of those that are inheritable, so they go with them. */
	rc = set_capabilities(j->binds_low_ports ? permitted & bit(CAP_NET_BIND_SERVICE) : 0);
	if (rc < 0)
		return rc;
	e->doing = "no_new_privs";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* After the user has changed, with which it would be set anew. */
	e->doing = "dumpable";
	return result(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/* Which accesses to files a version can forbid. */
static uint64_t file_accesses(int version)
{
	uint32_t known = version < 2 ? 13 : version < 3 ? 14 : version < 5 ? 15 : 16;

	return (1ull << known) - 1;
}

/*
 * All that it can forbid of files is forbidden, with no exception; and to reach abstract unix sockets and processes of others. The network is left
 * alone: it is what a port is for.
 */
static int forbid_files(struct entry *e)
{
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION), fd, rc;
	struct landlock_rules rules = { .net = 0 };

	e->doing = "Landlock";
	if (version < 0) {
		if (errno != ENOSYS && errno != EOPNOTSUPP)
			return -errno;
		miss(e, "this system has no Landlock");
		return 0;
	}
	rules.files = file_accesses(version);
	rules.scoped = version < 6 ? 0 : LANDLOCK_SCOPES;
	/* Fields that the kernel's version does not know must be zero, and are. */
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
	if (fd < 0)
		return -errno;
	rc = result((int)syscall(SYS_landlock_restrict_self, fd, 0));
	close(fd);
	return rc;
}

static int filter_calls(struct entry *e)
{
	e->doing = "filter of system calls";
	if (!JAIL_UNFILTERED)
		return jail_filter();
	miss(e, "built with a sanitizer, so without a filter of system calls");
	return 0;
}

int jail_enter(const struct jail *j, char *why, size_t why_bytes)
{
	struct entry e = { .doing = "" };
	int rc = check_alone(&e);

	if (rc == 0)
		rc = set_limits(&e, j);
	if (rc == 0)
		rc = drop_rights(&e, j);
	if (rc == 0)
		rc = forbid_files(&e);
	if (rc == 0)
		rc = filter_calls(&e);
	if (rc < 0) {
		(void)snprintf(why, why_bytes, "%s: %s", e.doing, strerror(-rc));
		return rc;
	}
	(void)snprintf(why, why_bytes, "%s", e.missing);
	return e.missing[0] ? 1 : 0;
}
