/* SPDX-License-Identifier: MIT */
/*
 * Arenas: sealed memfds. The brain never maps them, and once a front-end has one it does nothing with it that takes the lock of its inode: a
 * front-end can hold that for as long as it likes. See ../janitor.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "closer.h"
#include "csvn/abi.h"
#include "csvn/circuit.h"
#include "descriptor.h"
#include "peers.h"

int csvn_arena_create(uint64_t bytes)
{
	int fd;

	if (bytes == 0 || bytes % CSVN_PAGE || bytes > INT64_MAX)
		return -EINVAL;
	fd = descriptor_made_arena(memfd_create("csvn-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	if (fd < 0)
		return fd;
	/* A mapped file that shrinks kills whoever touches it. */
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int csvn_arena_stamp(int fd, const uint8_t *bytes, uint32_t count)
{
	ssize_t n = pwrite(fd, bytes, count, 0);

	return n < 0 ? -errno : (uint32_t)n == count ? 0 : -EIO;
}

int csvn_arena_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : (int)((uint64_t)st.st_blocks * 512 / CSVN_PAGE);
}

int csvn_board_create(void)
{
	int fd = descriptor_made_arena(memfd_create("csvn-board", MFD_CLOEXEC | MFD_ALLOW_SEALING));

	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)PEER_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int csvn_eventfd_create(void)
{
	return descriptor_made_arena(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int csvn_fd_identity(int fd, uint64_t *device_and_inode)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	device_and_inode[0] = st.st_dev;
	device_and_inode[1] = st.st_ino;
	return 0;
}

int csvn_fd_count(void)
{
	DIR *all = opendir("/proc/self/fd");
	int count = 0;

	if (!all)
		return -errno;
	while (readdir(all))
		count++;
	closedir(all);
	return count - 3; /* ".", "..", and this one */
}

int csvn_fd_close(int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

int csvn_fd_close_apart(int fd)
{
	closer_close(-1, -1, fd, NULL);
	return 0;
}
