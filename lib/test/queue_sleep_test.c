/* SPDX-License-Identifier: MIT */
/* The queue's sleepers: nobody sleeps while there is something, and nobody is rung for who is awake. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "queue.h"

#define SIZE 256u
#define LOST_MS 60000 /* a wake-up that has not come by then is lost */

/* A child that does not outlive this process, should it fail. */
static pid_t begin_child(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	return child;
}

static struct {
	struct queue_shared shared;
	uint8_t ring[SIZE];
} memory;

static struct queue producer, consumer;
static uint8_t buffer[SIZE];

static void begin(void)
{
	memset(&memory, 0, sizeof(memory));
	CHECK(queue_init(&producer, &memory, SIZE, true) == 0 && queue_init(&consumer, &memory, SIZE, false) == 0);
}

static int put(const void *bytes, uint32_t count)
{
	struct queue_part part = { bytes, count };

	return queue_put(&producer, &part, 1);
}

static void test_sleep(void)
{
	begin();
	CHECK(!queue_rings(&producer));
	CHECK(queue_sleep(&consumer) && put("x", 1) == 0 && put("y", 1) == 0);
	CHECK(queue_rings(&producer) && !queue_rings(&producer)); /* once */
	CHECK(!queue_sleep(&consumer) && !queue_rings(&producer)); /* there is something */
	CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == 16 && queue_sleep(&consumer));
	queue_awake(&consumer);
	CHECK(put("z", 1) == 0 && !queue_rings(&producer));
	/* A cursor that lies is something. */
	CHECK(queue_take(&consumer, buffer, sizeof(buffer)) == 8);
	memory.shared.produced += 4;
	CHECK(!queue_sleep(&consumer));
}

/* A queue each way between two processes or threads, and what their consumers sleep at. */
struct line {
	struct queue out, in;
	int rings, sleeps; /* eventfds: the other side's, the own */
	uint32_t slept;
};

static struct line lines[2];

static void *share(size_t bytes)
{
	int fd = memfd_create("csvn-test", MFD_CLOEXEC);
	void *at;

	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static void connect_lines(void *shared)
{
	int bells[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	uint32_t apart = (queue_bytes(SIZE) + 63) / 64 * 64;

	CHECK(bells[0] >= 0 && bells[1] >= 0);
	for (uint32_t i = 0; i < 2; i++) {
		CHECK(queue_init(&lines[i].out, (uint8_t *)shared + apart * i, SIZE, true) == 0);
		CHECK(queue_init(&lines[i].in, (uint8_t *)shared + apart * !i, SIZE, false) == 0);
		lines[i].rings = bells[!i];
		lines[i].sleeps = bells[i];
		lines[i].slept = 0;
	}
}

static void disconnect_lines(void *shared)
{
	close(lines[0].rings);
	close(lines[0].sleeps);
	munmap(shared, 4096);
}

static void send_number(struct line *l, uint32_t number, uint32_t padding)
{
	static const uint8_t zeros[64];
	struct queue_part parts[] = { { &number, sizeof(number) }, { zeros, padding } };
	const uint64_t one = 1;

	CHECK(queue_put(&l->out, parts, 2) == 0); /* no more are under way than there is room for */
	if (queue_rings(&l->out))
		CHECK(write(l->rings, &one, sizeof(one)) == sizeof(one));
}

/* Sleeps as often as it may. */
static uint32_t receive_number(struct line *l)
{
	struct pollfd bell = { .fd = l->sleeps, .events = POLLIN };
	uint8_t record[SIZE];
	uint64_t count;
	uint32_t number;
	int n;

	while ((n = queue_next(&l->in, record, sizeof(record))) == 0) {
		if (!queue_sleep(&l->in))
			continue;
		l->slept++;
		CHECK(poll(&bell, 1, LOST_MS) == 1 && read(l->sleeps, &count, sizeof(count)) == sizeof(count));
		queue_awake(&l->in);
	}
	CHECK(n >= 8);
	memcpy(&number, record + QUEUE_HEADER, sizeof(number));
	return number;
}

#define NUMBERS 20000u

static void *send_back(void *unused)
{
	for (uint32_t i = 0; i < NUMBERS; i++) {
		CHECK(receive_number(&lines[1]) == i);
		send_number(&lines[1], i, i % 13);
	}
	return unused;
}

/* One to three are under way, of 72 bytes at most. */
static void send_there(void)
{
	uint32_t sent = 0;

	for (uint32_t back = 0; back < NUMBERS; back++) {
		uint32_t ahead = 1 + test_below(3);

		while (sent < NUMBERS && sent - back < ahead)
			send_number(&lines[0], sent++, test_below(64));
		CHECK(receive_number(&lines[0]) == back);
	}
	CHECK(lines[0].slept > 0);
}

static void test_threads(void)
{
	void *shared = share(4096);
	pthread_t thread;

	connect_lines(shared);
	CHECK(pthread_create(&thread, NULL, send_back, NULL) == 0);
	send_there();
	pthread_join(thread, NULL);
	CHECK(lines[1].slept > 0);
	disconnect_lines(shared);
}

static void test_processes(void)
{
	void *shared = share(4096);
	int status;
	pid_t child;

	connect_lines(shared);
	child = begin_child();
	if (child == 0) {
		(void)send_back(NULL);
		_exit(lines[1].slept == 0);
	}
	send_there();
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	disconnect_lines(shared);
}

#define MEETINGS 20000u

static struct {
	uint32_t begun, ended; /* rounds, of the producer's thread */
	bool rang;
} meeting;

static void wait_for(const uint32_t *rounds, uint32_t round)
{
	for (uint32_t looks = 0; __atomic_load_n(rounds, __ATOMIC_ACQUIRE) != round; looks++)
		if (looks % 128 == 127)
			sched_yield();
}

static void *put_at_once(void *unused)
{
	for (uint32_t i = 1; i <= MEETINGS; i++) {
		wait_for(&meeting.begun, i);
		CHECK(put("", 0) == 0);
		meeting.rang = queue_rings(&producer);
		__atomic_store_n(&meeting.ended, i, __ATOMIC_RELEASE);
	}
	return unused;
}

/* One falls asleep at the moment when the other puts something: it sees that, or is seen. */
static void test_meetings(void)
{
	pthread_t thread;

	begin();
	CHECK(pthread_create(&thread, NULL, put_at_once, NULL) == 0);
	for (uint32_t i = 1; i <= MEETINGS; i++) {
		bool sleeps;

		__atomic_store_n(&meeting.begun, i, __ATOMIC_RELEASE);
		for (uint32_t look = test_below(64); look; look--)
			(void)__atomic_load_n(&meeting.ended, __ATOMIC_RELAXED);
		sleeps = queue_sleep(&consumer);
		wait_for(&meeting.ended, i);
		CHECK(meeting.rang || !sleeps);
		queue_awake(&consumer);
		CHECK(queue_next(&consumer, buffer, sizeof(buffer)) == QUEUE_HEADER);
	}
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_sleep();
	test_threads();
	test_processes();
	test_meetings();
	return 0;
}
