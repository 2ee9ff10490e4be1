/* SPDX-License-Identifier: MIT */
/* Arenas: sealed memfds. The data plane itself never maps them; VMs that talk directly share them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

int csvn_arena_punch(int fd, uint64_t offset, uint64_t bytes)
{
	if (offset > INT64_MAX || bytes > INT64_MAX)
		return -EINVAL;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) < 0 ? -errno : 0;
}

#define WIPE_MAX 65536u /* bytes zeroed in place */
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

int csvn_arena_wipe(int fd, uint64_t offset, uint64_t bytes, uint32_t keep)
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
	return csvn_arena_punch(fd, offset, bytes);
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

int csvn_fd_close(int fd)
{
	return close(fd) < 0 ? -errno : 0;
}
