/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define LAST 64u /* how many are kept; of a small limit, a quarter */
#define MARGIN 8u /* that many more before one begins again, so that not each one that is given back begins it */

static rlim_t last_of(rlim_t limit)
{
	return limit / 4 < LAST ? limit / 4 : LAST;
}

/* Is this one of the last, in parts of as many as are kept, or of so many before them? */
static bool is_close(int fd, rlim_t parts, rlim_t margin)
{
	struct rlimit limit;

	/* It may be changed while we run. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	return (rlim_t)fd + margin >= limit.rlim_cur - last_of(limit.rlim_cur) / parts;
}

bool descriptor_is_last(int fd)
{
	return is_close(fd, 1, 0);
}

static int made(int fd, rlim_t parts)
{
	if (fd < 0)
		return -errno;
	if (!is_close(fd, parts, 0))
		return fd;
	close(fd);
	return -EMFILE;
}

int descriptor_made(int fd)
{
	return made(fd, 1);
}

int descriptor_made_arena(int fd)
{
	return made(fd, 2);
}

bool descriptor_is_short(int any)
{
	int fd = fcntl(any, F_DUPFD_CLOEXEC, 0);
	bool is_short = fd < 0 || is_close(fd, 1, MARGIN);

	if (fd >= 0)
		close(fd);
	return is_short;
}

bool descriptor_is_want(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}
