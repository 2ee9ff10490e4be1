/* SPDX-License-Identifier: MIT */
/*
 * Only memory that cannot shrink is mapped (memfds with F_SEAL_SHRINK, as QEMU's memory-backend-memfd makes them): a
 * front-end that truncates its file would otherwise kill the switch by SIGBUS. So would one that punches a hole into huge pages while there are none
 * left: those are not mapped either, however they are sealed.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "foreign.h"

/* Not before its seals are asked for: only a file that has some answers by itself. st_blksize is no sign, ordinary memory may be in huge pages too. */
static int check_file(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return -EPERM;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == TMPFS_MAGIC ? 0 : -EOPNOTSUPP;
}

static int map_region(struct memory_region *r, const struct csvn_region *in)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t start = in->offset & ~(page - 1);
	uint64_t lead = in->offset - start;
	struct stat st;
	int rc;

	if (in->size == 0 || in->size > UINT64_MAX - in->guest || in->size > UINT64_MAX - in->user ||
	    in->size > UINT64_MAX - in->offset)
		return -EINVAL;
	rc = check_file(in->token);
	if (rc < 0)
		return rc;
	rc = foreign_stat(in->token, &st);
	if (rc < 0)
		return rc;
	if (st.st_size < 0 || (uint64_t)st.st_size < in->offset + in->size)
		return -ERANGE;
	r->mapping = mmap(NULL, in->size + lead, PROT_READ | PROT_WRITE, MAP_SHARED, in->token, (off_t)start);
	if (r->mapping == MAP_FAILED)
		return -errno;
	(void)madvise(r->mapping, in->size + lead, MADV_DONTDUMP);
	r->mapped = in->size + lead;
	r->host = (uint8_t *)r->mapping + lead;
	r->guest = in->guest;
	r->user = in->user;
	r->size = in->size;
	r->offset = in->offset;
	r->device = st.st_dev;
	r->inode = st.st_ino;
	return 0;
}

static int overlaps(const struct csvn_region *a, const struct csvn_region *b)
{
	return a->guest < b->guest ? b->guest - a->guest < a->size : a->guest - b->guest < b->size;
}

int memory_map(struct memory *m, const struct csvn_region *regions, uint32_t count)
{
	m->count = 0;
	if (count > MEMORY_REGIONS)
		return -E2BIG;
	for (uint32_t i = 0; i < count; i++) {
		int rc = 0;

		for (uint32_t k = 0; k < i; k++)
			if (overlaps(&regions[i], &regions[k]))
				rc = -EINVAL;
		if (rc == 0)
			rc = map_region(&m->regions[i], &regions[i]);
		if (rc < 0) {
			memory_unmap(m);
			return rc;
		}
		m->count = i + 1;
	}
	return 0;
}

void memory_unmap(struct memory *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		munmap(m->regions[i].mapping, m->regions[i].mapped);
	memset(m, 0, sizeof(*m));
}

int memory_same(const struct memory *m, const struct csvn_region *regions, uint32_t count)
{
	if (count != m->count)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct memory_region *r = &m->regions[i];
		struct stat st;

		if (check_file(regions[i].token) < 0 || foreign_stat(regions[i].token, &st) < 0 || st.st_dev != r->device ||
		    st.st_ino != r->inode)
			return 0;
		if (r->guest != regions[i].guest || r->user != regions[i].user || r->size != regions[i].size ||
		    r->offset != regions[i].offset)
			return 0;
	}
	return 1;
}

uint8_t *memory_guest(const struct memory *m, uint64_t guest, uint64_t *bytes)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		uint64_t at = guest - r->guest; /* wraps to a large value when guest is below the region */

		if (guest < r->guest || at >= r->size)
			continue;
		if (*bytes > r->size - at)
			*bytes = r->size - at;
		/* SAFETY: at < r->size, and at + *bytes <= r->size, the mapping's length behind host. */
		return r->host + at;
	}
	return NULL;
}

uint8_t *memory_user(const struct memory *m, uint64_t user, uint64_t bytes)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		uint64_t at = user - r->user;

		if (user < r->user || at >= r->size)
			continue;
		if (bytes > r->size - at)
			return NULL;
		/* SAFETY: at + bytes <= r->size. */
		return r->host + at;
	}
	return NULL;
}
