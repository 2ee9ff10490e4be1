/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define WIPE_PARTS 8u /* pieces that they may be in */

/* Where there is memory in [at, end): how many pieces; -E2BIG when it is more than keep bytes, or more than WIPE_PARTS pieces. */
static int find_memory(int fd, off_t at, off_t end, off_t keep, off_t parts[][2])
{
	int n = 0;

	while (at < end) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0 || data >= end)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if (hole > end)
			hole = end;
		keep -= hole - data;
		if (keep < 0 || n == WIPE_PARTS)
			return -E2BIG;
		parts[n][0] = data;
		parts[n++][1] = hole - data;
		at = hole;
	}
	return n;
}

int wipe(int fd, uint64_t offset, uint64_t bytes, uint32_t keep)
{
	static const uint8_t zeros[WIPE_MAX];
	off_t parts[WIPE_PARTS][2];
	int n, kept = 0;

	if (offset > INT64_MAX || bytes > INT64_MAX - offset || keep > WIPE_MAX)
		return -EINVAL;
	n = find_memory(fd, (off_t)offset, (off_t)(offset + bytes), keep, parts);
	for (int i = 0; i < n; i++) {
		/* SAFETY: all parts together have at most keep <= WIPE_MAX bytes. */
		if (pwrite(fd, zeros, (size_t)parts[i][1], parts[i][0]) != parts[i][1])
			n = -EIO;
		else
			kept += (int)parts[i][1];
	}
	if (n >= 0)
		return kept;
	/* Front-ends have the same open file, and may have set flags on it with which it cannot be written: this needs no flags. */
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) < 0 ? -errno : 0;
}
