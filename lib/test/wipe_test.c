/* SPDX-License-Identifier: MIT */
/* Zeroing a range of an arena: random bytes in it, and after each wipe the whole file is compared with what it should hold. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "csvn/circuit.h"
#include "wipe.h"

#define PAGES 64u
#define BYTES ((size_t)PAGES * CSVN_PAGE)
#define KEEP_PAGES 4u

static uint8_t expected[BYTES];

static uint32_t pages(int fd)
{
	struct stat st;

	CHECK(fstat(fd, &st) == 0);
	return (uint32_t)((uint64_t)st.st_blocks * 512 / CSVN_PAGE);
}

static void punch_all(int fd)
{
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES) == 0);
}

/* Pages of a range with memory behind them, and how many pieces they are in. */
static uint32_t pages_with_memory(int fd, uint32_t first, uint32_t count, uint32_t *pieces)
{
	uint32_t found = 0;
	bool before = false;

	*pieces = 0;
	for (uint32_t i = first; i < first + count; i++) {
		bool here = lseek(fd, (off_t)i * CSVN_PAGE, SEEK_DATA) == (off_t)i * CSVN_PAGE;

		*pieces += here && !before;
		found += here;
		before = here;
	}
	return found;
}

static void write_somewhere(int fd)
{
	uint32_t at = test_below(BYTES), count = 1 + test_below(3 * CSVN_PAGE);

	if (count > BYTES - at)
		count = BYTES - at;
	memset(expected + at, 1 + (int)test_below(255), count);
	CHECK(pwrite(fd, expected + at, count, at) == (ssize_t)count);
}

static void test_wipe(int fd, const uint8_t *mapped)
{
	uint32_t wiped = 0, punched = 0;

	for (uint32_t step = 0; step < 20000; step++) {
		uint32_t first = test_below(PAGES), count = 1 + test_below(PAGES - first), pieces;
		uint32_t had, total;
		int rc;

		for (uint32_t i = test_below(4); i > 0; i--)
			write_somewhere(fd);
		total = pages(fd);
		had = pages_with_memory(fd, first, count, &pieces);
		rc = wipe(fd, first * CSVN_PAGE, count * CSVN_PAGE, KEEP_PAGES * CSVN_PAGE);
		CHECK(pages(fd) == (had > KEEP_PAGES ? total - had : total));
		memset(expected + first * CSVN_PAGE, 0, count * CSVN_PAGE);
		CHECK(memcmp(mapped, expected, BYTES) == 0);
		/* At most four pages are in at most four pieces: fewer than it can remember. */
		CHECK(rc == (int)(had <= KEEP_PAGES ? had * CSVN_PAGE : 0));
		wiped += rc > 0;
		punched += had > KEEP_PAGES;
		/* Comparing has given every page of the mapping memory. */
		punch_all(fd);
		memset(expected, 0, BYTES);
	}
	CHECK(wiped > 1000 && punched > 100);
}

/* Many pieces: more than are remembered. */
static void test_pieces(int fd, const uint8_t *mapped)
{
	for (uint32_t count = 1; count <= 16; count++) {
		int rc;

		punch_all(fd);
		for (uint32_t i = 0; i < count; i++)
			CHECK(pwrite(fd, "x", 1, 2 * (off_t)i * CSVN_PAGE) == 1);
		rc = wipe(fd, 0, BYTES, 16 * CSVN_PAGE);
		CHECK(rc == (count <= 8 ? (int)(count * CSVN_PAGE) : 0));
		CHECK((int)(pages(fd) * CSVN_PAGE) == rc);
		for (size_t i = 0; i < BYTES; i++)
			CHECK(mapped[i] == 0);
	}
}

/* A front-end has the same open file: with this flag, writes go to its end, where none may be. */
static void test_flags(int fd, const uint8_t *mapped)
{
	CHECK(pwrite(fd, "x", 1, 0) == 1);
	CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
	CHECK(wipe(fd, 0, BYTES, 16 * CSVN_PAGE) == 0);
	CHECK(mapped[0] == 0 && fcntl(fd, F_SETFL, 0) == 0);
}

int main(int argc, char **argv)
{
	int fd = memfd_create("arena", MFD_CLOEXEC);
	const uint8_t *mapped;

	test_seed(argc, argv);
	CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
	mapped = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(mapped != MAP_FAILED);
	CHECK(wipe(fd, 0, BYTES, 65537) == -EINVAL);
	CHECK(wipe(fd, INT64_MAX, BYTES, 0) == -EINVAL);
	test_wipe(fd, mapped);
	test_pieces(fd, mapped);
	test_flags(fd, mapped);
	return 0;
}
