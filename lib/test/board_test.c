/* SPDX-License-Identifier: MIT */
/*
 * The board between two processes: no mark is lost, whether the reader is awake, asleep or between; what was never marked takes no memory; and
 * whatever a writer puts there, the reader gets indices, and comes back.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"
#include "check.h"

#define LOST_MS 60000 /* a wake-up that has not come by then is lost */
#define PAGE 4096

/* A child that does not outlive this process, should it fail. */
static pid_t begin_child(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	return child;
}

static struct board writer, reader;
static int file = -1;

/* An empty board in a file of its own. */
static void begin(void)
{
	void *memory;

	if (file >= 0) {
		munmap(writer.shared, sizeof(*writer.shared));
		close(file);
	}
	file = memfd_create("csvn-test", MFD_CLOEXEC);
	CHECK(file >= 0 && ftruncate(file, sizeof(struct board_shared)) == 0);
	memory = mmap(NULL, sizeof(struct board_shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	board_init(&writer, memory);
	board_init(&reader, memory);
}

static uint64_t pages(void)
{
	struct stat st;

	CHECK(fstat(file, &st) == 0);
	return (uint64_t)st.st_blocks * 512 / PAGE;
}

static void test_units(void)
{
	static const uint32_t all[] = { 0, 1, 63, 64, 4095, 4096, 262143, 262144, 524288, BOARD_INDICES - 1 };
	uint32_t got[16], count = sizeof(all) / sizeof(all[0]), found = 0;

	begin();
	CHECK(board_take(&reader, got, 16) == 0);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(!board_mark(&writer, all[i]));
		CHECK(board_take(&reader, got, 16) == 1 && got[0] == all[i]);
		CHECK(board_take(&reader, got, 16) == 0);
	}
	CHECK(!board_mark(&writer, BOARD_INDICES) && !board_mark(&writer, UINT32_MAX));
	CHECK(board_take(&reader, got, 16) == 0);

	/* Twice is once. None for which there is no room is lost. */
	for (uint32_t i = 0; i < 2 * count; i++)
		(void)board_mark(&writer, all[i % count]);
	CHECK(board_take(&reader, got, 0) == 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t k = 0;

		CHECK(board_take(&reader, got, 1) == 1);
		while (k < count && all[k] != got[0])
			k++;
		CHECK(k < count && !(found >> k & 1));
		found |= 1u << k;
	}
	CHECK(board_take(&reader, got, 1) == 0);
}

/* One that is marked all the time does not keep another waiting. */
static void test_turns(void)
{
	uint32_t got, others = 0;

	begin();
	for (uint32_t i = 1; i < 64; i++)
		(void)board_mark(&writer, i * (BOARD_INDICES / 64));
	for (uint32_t i = 0; i < 200; i++) {
		(void)board_mark(&writer, 0);
		CHECK(board_take(&reader, &got, 1) == 1);
		others += got != 0;
	}
	CHECK(others == 63);
}

static void test_listen(void)
{
	uint32_t got[4];

	begin();
	CHECK(board_listen(&reader));
	CHECK(board_mark(&writer, 5) && !board_mark(&writer, 6)); /* told once */
	CHECK(!board_listen(&reader) && !board_mark(&writer, 7)); /* there is something */
	CHECK(board_take(&reader, got, 2) == 2 && !board_listen(&reader)); /* what is left is something */
	CHECK(board_take(&reader, got, 4) == 1 && board_listen(&reader));
	board_awake(&reader);
	CHECK(!board_mark(&writer, 5));
}

static void test_sparse(void)
{
	uint32_t got[4];
	uint64_t one;

	begin();
	CHECK(pages() == 0 && board_take(&reader, got, 4) == 0 && !board_mark(&writer, 0));
	one = pages();
	if (one > 2) {
		printf("memory comes in large pages here: not tested that what is untouched takes none\n");
		return;
	}
	CHECK(board_listen(&reader) == false && board_take(&reader, got, 4) == 1 && pages() == 2);
	(void)board_mark(&writer, BOARD_INDICES - 1);
	CHECK(board_take(&reader, got, 4) == 1 && board_listen(&reader) && pages() == 3);
}

static void test_model(void)
{
	static uint8_t marked[BOARD_INDICES];
	static uint32_t got[3000];
	uint32_t left = 0;

	begin();
	memset(marked, 0, sizeof(marked));
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t near = test_below(BOARD_INDICES), most = test_below(3000), n;

		for (uint32_t i = test_below(2000); i; i--) {
			uint32_t index = test_below(2) ? test_below(BOARD_INDICES) : (near + test_below(256)) % BOARD_INDICES;

			(void)board_mark(&writer, index);
			left += !marked[index];
			marked[index] = 1;
		}
		n = board_take(&reader, got, most);
		CHECK(n <= most);
		for (uint32_t i = 0; i < n; i++) {
			CHECK(got[i] < BOARD_INDICES);
			/* Some may come twice when what was left of the last call is marked again. */
			left -= marked[got[i]];
			marked[got[i]] = 0;
		}
		CHECK(n == most || left == 0);
	}
	while (board_take(&reader, got, 100))
		;
	for (uint32_t i = 0; i < sizeof(reader.shared->marks) / 8; i++)
		CHECK(reader.shared->marks[i] == 0);
	CHECK(board_listen(&reader));
}

/*
 * Marks under way between two threads or processes: of each index, how often it was marked. All of a handful must have been seen before the next,
 * so that none that is lost is made good by a later one of the same index.
 */
#define INDICES 500u
#define NEAR 100u /* of them are in two words, the others in words of their own */
#define APART (BOARD_INDICES / INDICES)
#define MARKS 200000u

static struct common {
	uint32_t indices[INDICES];
	uint32_t marked[INDICES];
	uint32_t seen;
} *common;
static int bell = -1;

static void wait_for(const uint32_t *counter, uint32_t value)
{
	for (uint32_t looks = 0; __atomic_load_n(counter, __ATOMIC_ACQUIRE) != value; looks++)
		if (looks % 128 == 127)
			sched_yield();
}

static void *mark_all(void *unused)
{
	const uint64_t one = 1;
	uint32_t handful = 0;

	for (uint32_t i = 0; i < MARKS; i++) {
		uint32_t k = test_below(test_below(2) ? NEAR : INDICES);

		if (handful-- == 0) {
			wait_for(&common->seen, i);
			handful = test_below(24);
		}
		__atomic_fetch_add(&common->marked[k], 1, __ATOMIC_RELAXED);
		if (board_mark(&writer, common->indices[k]))
			CHECK(write(bell, &one, sizeof(one)) == sizeof(one));
	}
	return unused;
}

static uint32_t find_index(uint32_t index)
{
	uint32_t k = index < NEAR ? index : index / APART;

	CHECK(k < INDICES && common->indices[k] == index);
	return k;
}

static void take_all(void)
{
	uint32_t known[INDICES] = { 0 }, got[7], seen = 0, slept = 0;
	struct pollfd poller = { .fd = bell, .events = POLLIN };
	uint64_t count;

	while (seen < MARKS) {
		uint32_t n = board_take(&reader, got, 7);

		for (uint32_t i = 0; i < n; i++) {
			uint32_t k = find_index(got[i]);
			uint32_t now = __atomic_load_n(&common->marked[k], __ATOMIC_RELAXED);

			seen += now - known[k];
			known[k] = now;
		}
		__atomic_store_n(&common->seen, seen, __ATOMIC_RELEASE);
		if (n || !board_listen(&reader))
			continue;
		slept++;
		CHECK(poll(&poller, 1, LOST_MS) == 1 && read(bell, &count, sizeof(count)) == sizeof(count));
		board_awake(&reader);
	}
	CHECK(seen == MARKS && slept > 0);
}

static void begin_marks(void)
{
	begin();
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(common != MAP_FAILED);
	for (uint32_t i = 0; i < INDICES; i++)
		common->indices[i] = i < NEAR ? i : i * APART + test_below(64);
	bell = eventfd(0, EFD_CLOEXEC);
	CHECK(bell >= 0);
}

static void end_marks(void)
{
	munmap(common, sizeof(*common));
	close(bell);
}

static void test_threads(void)
{
	pthread_t thread;

	begin_marks();
	CHECK(pthread_create(&thread, NULL, mark_all, NULL) == 0);
	take_all();
	pthread_join(thread, NULL);
	end_marks();
}

static void test_processes(void)
{
	int status;
	pid_t child;

	begin_marks();
	child = begin_child();
	if (child == 0) {
		(void)mark_all(NULL);
		_exit(0);
	}
	take_all();
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	end_marks();
}

#define MEETINGS 20000u

static struct {
	uint32_t begun, ended; /* rounds, of the writer's thread */
	uint32_t index;
	bool rang;
} meeting;

static void *mark_at_once(void *unused)
{
	for (uint32_t i = 1; i <= MEETINGS; i++) {
		wait_for(&meeting.begun, i);
		meeting.rang = board_mark(&writer, meeting.index);
		__atomic_store_n(&meeting.ended, i, __ATOMIC_RELEASE);
	}
	return unused;
}

/*
 * One takes and falls asleep at the moment when the other marks: it sees that, or is seen. Every other time it has something to take that is in the
 * same word, of one level or another, as what is marked then.
 */
static void test_meetings(void)
{
	pthread_t thread;

	begin();
	CHECK(pthread_create(&thread, NULL, mark_at_once, NULL) == 0);
	for (uint32_t i = 1; i <= MEETINGS; i++) {
		uint32_t near = test_below(BOARD_INDICES), got[3], n, all = 1 + i % 2;
		bool listens;

		meeting.index = near ^ 1u << test_below(20);
		if (all == 2)
			(void)board_mark(&writer, near);
		__atomic_store_n(&meeting.begun, i, __ATOMIC_RELEASE);
		for (uint32_t look = test_below(64); look; look--)
			(void)__atomic_load_n(&meeting.ended, __ATOMIC_RELAXED);
		n = board_take(&reader, got, 3);
		listens = board_listen(&reader);
		wait_for(&meeting.ended, i);
		board_awake(&reader);
		CHECK(n == all || !listens || meeting.rang);
		n += board_take(&reader, got + n, 3 - n);
		CHECK(n == all && (got[0] == meeting.index || got[n - 1] == meeting.index));
	}
	pthread_join(thread, NULL);
}

static void scribble(void)
{
	uint64_t *words = (uint64_t *)(void *)writer.shared;

	for (;;) {
		uint32_t all = sizeof(*writer.shared) / 8;
		uint64_t value = test_below(2) ? test_random() : test_below(2) ? UINT64_MAX : 0;

		/* The upper levels half of the time. */
		__atomic_store_n(&words[test_below(test_below(2) ? 512 : all)], value, __ATOMIC_RELAXED);
	}
}

/* Another process writes what it likes, as fast as it can. */
static void test_scribbler(void)
{
	uint64_t taken = 0;
	pid_t child;

	begin();
	child = begin_child();
	if (child == 0)
		scribble();
	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t most = test_below(200), n;
		uint32_t *got = malloc(most ? most * sizeof(*got) : 1);

		CHECK(got);
		n = board_take(&reader, got, most);
		CHECK(n <= most);
		for (uint32_t k = 0; k < n; k++)
			CHECK(got[k] < BOARD_INDICES);
		(void)board_listen(&reader);
		(void)board_mark(&writer, test_below(2 * BOARD_INDICES));
		taken += n;
		free(got);
	}
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	CHECK(taken > 0);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_units();
	test_turns();
	test_listen();
	test_sparse();
	test_model();
	test_threads();
	test_processes();
	test_meetings();
	test_scribbler();
	return 0;
}
