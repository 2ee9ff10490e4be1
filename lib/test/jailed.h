/* SPDX-License-Identifier: MIT */
/* What the tests of the jail share: children that are in it. There is no way out, so each look is made by a child of its own. */
#ifndef CSVN_TEST_JAILED_H
#define CSVN_TEST_JAILED_H

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "interrupt.h"
#include "jail.h"
#include "jail_filter.h"

#define DESCRIPTORS 200u

static const struct jail as_it_is = { .uid = (uid_t)-1, .gid = (gid_t)-1, .descriptors = DESCRIPTORS };
static int landlock; /* its version; not above 0: there is none */

/* What a child has from outside. */
static struct {
	struct interrupter interrupter;
	int memory; /* a memfd */
	int channel, other_end; /* of a unix socket */
	int pipe, timer; /* what is no eventfd */
} have;

static inline void enter(const struct jail *j)
{
	char why[256] = "?";
	bool whole = landlock > 0 && !JAIL_UNFILTERED;
	int rc;

	CHECK(interrupter_open(&have.interrupter) == 0); /* it is not the parent's any more */
	rc = jail_enter(j, why, sizeof(why));
	if (rc < 0)
		fprintf(stderr, "jail_enter(): %s\n", why);
	CHECK(rc == !whole && (why[0] != 0) == !whole);
	CHECK(!strstr(why, "Landlock") == (landlock > 0) && !strstr(why, "sanitizer") == !JAIL_UNFILTERED);
}

static inline pid_t begin_child(void)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	return child;
}

static inline int end_of(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

/* In a child in the jail, which must come to its end. */
static inline void inside(const struct jail *j, void (*work)(void))
{
	pid_t child = begin_child();

	if (child == 0) {
		enter(j);
		work();
		_exit(0);
	}
	CHECK(end_of(child) == 0);
}

/* Once, at first. */
static inline void begin_outside(void)
{
	int pair[2], ends[2];

	landlock = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	have.memory = memfd_create("csvn-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(have.memory >= 0 && ftruncate(have.memory, 1 << 20) == 0);
	CHECK(fcntl(have.memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && pipe2(ends, O_CLOEXEC) == 0);
	have.channel = pair[0];
	have.other_end = pair[1];
	have.pipe = ends[0];
	have.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	CHECK(have.timer >= 0);
}

#endif
