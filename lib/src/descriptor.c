/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define LAST 64u /* how many are kept; of a small limit, a quarter */
#define MARGIN 8u /* that many more before one begins again, so that not each one that is given back begins it */

/* Is this one of the last, or of so many before them? */
static bool is_close(int fd, rlim_t margin)
{
	struct rlimit limit;
	rlim_t last;

	/* It may be changed while we run. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	last = limit.rlim_cur / 4 < LAST ? limit.rlim_cur / 4 : LAST;
	return (rlim_t)fd + margin >= limit.rlim_cur - last;
}

bool descriptor_is_last(int fd)
{
	return is_close(fd, 0);
}

int descriptor_made(int fd)
{
	if (fd < 0)
		return -errno;
	if (!descriptor_is_last(fd))
		return fd;
	close(fd);
	return -EMFILE;
}

bool descriptor_is_short(int any)
{
	int fd = fcntl(any, F_DUPFD_CLOEXEC, 0);
	bool is_short = fd < 0 || is_close(fd, MARGIN);

	if (fd >= 0)
		close(fd);
	return is_short;
}

bool descriptor_is_want(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}
