/* SPDX-License-Identifier: MIT */
/* Control groups, by their files: Deno lets nobody write to those but who may do everything. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csvn/abi.h"

static int path_of(char out[PATH_MAX], const uint8_t *path, uint32_t bytes)
{
	if (bytes == 0 || bytes >= PATH_MAX || memchr(path, 0, bytes))
		return -EINVAL;
	memcpy(out, path, bytes);
	out[bytes] = 0;
	return 0;
}

int csvn_cgroup_make(const uint8_t *path, uint32_t path_bytes)
{
	char at[PATH_MAX];
	int rc = path_of(at, path, path_bytes);

	if (rc < 0)
		return rc;
	if (mkdir(at, 0755) == 0)
		return 1;
	return errno == EEXIST ? 0 : -errno;
}

int csvn_cgroup_write(const uint8_t *path, uint32_t path_bytes, const uint8_t *text, uint32_t text_bytes)
{
	char at[PATH_MAX];
	int rc = path_of(at, path, path_bytes), fd;
	ssize_t n;

	if (rc < 0)
		return rc;
	fd = open(at, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, text_bytes);
	rc = n < 0 ? -errno : (uint32_t)n == text_bytes ? 0 : -EIO;
	close(fd);
	return rc;
}

int csvn_cgroup_remove(const uint8_t *path, uint32_t path_bytes)
{
	char at[PATH_MAX];
	int rc = path_of(at, path, path_bytes);

	if (rc < 0)
		return rc;
	return rmdir(at) < 0 && errno != ENOENT ? -errno : 0;
}
