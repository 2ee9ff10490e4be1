/* SPDX-License-Identifier: MIT */
/*
 * The stand-in by itself: this test is the switch that has died, at each point of each message, and leaves a table that says so. What was taken is not asked for
 * again, what was not is read, and every answer that is owed is given, once.
 *
 *     standin_test [seed]      the stand-in's program is beside this one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "csvn/keep.h"

#define TABLE_BYTES ((size_t)KEEP_SLOTS * KEEP_SLOT_BYTES)
#define PATIENCE_MS 20000
#define SLOT 5u
#define GENERATION 77u
#define FEATURES 0x170000000ull

static char program[4096];

/* A switch that is about to be dead. */
struct dead {
	int orders, fd; /* to the stand-in; the front-end's connection */
	pid_t pid;
	struct keep_slot *slot;
	uint8_t *table;
};

static void give(int orders, uint32_t order, uint32_t slot, uint32_t generation, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct keep_message m = { order, slot, generation };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	CHECK(sendmsg(orders, &msg, 0) == sizeof(m));
}

/* Start a stand-in, with one front-end, which has asked for features and been told. */
static struct dead begin_with(uint32_t generation)
{
	struct dead d;
	int table = memfd_create("table", MFD_CLOEXEC), orders[2], front[2];
	const uint64_t features = FEATURES;

	CHECK(ftruncate(table, (off_t)TABLE_BYTES) == 0);
	d.table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, table, 0);
	CHECK(d.table != MAP_FAILED);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front) == 0);
	d.pid = fork();
	CHECK(d.pid >= 0);
	if (d.pid == 0) {
		int high[2] = { fcntl(table, F_DUPFD, 64), fcntl(orders[1], F_DUPFD, 64) };

		dup2(high[0], KEEP_TABLE_FD);
		dup2(high[1], KEEP_SOCKET_FD);
		close(high[0]);
		close(high[1]);
		/* Not the test's ends: it is to see the end of the file. */
		execl(program, "csvn-standin", NULL);
		_exit(1);
	}
	close(table);
	close(orders[1]);
	d.orders = orders[0];
	d.fd = front[1];
	d.slot = (struct keep_slot *)(void *)(d.table + SLOT * KEEP_SLOT_BYTES);
	d.slot->generation = generation;
	d.slot->reply[KEEP_FEATURES].size = sizeof(features);
	memcpy(d.slot->replies, &features, sizeof(features));
	give(d.orders, KEEP_ADD, SLOT, generation, front[0]);
	close(front[0]);
	return d;
}

static struct dead begin(void)
{
	return begin_with(GENERATION);
}

static void die(struct dead *d)
{
	close(d->orders);
	d->orders = -1;
}

/* The front-end goes, and so does the stand-in. */
static void end(struct dead *d)
{
	int status;

	if (d->orders >= 0)
		die(d);
	close(d->fd);
	CHECK(waitpid(d->pid, &status, 0) == d->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	munmap(d->table, TABLE_BYTES);
}

static void put(struct dead *d, const uint32_t *message, uint32_t from, uint32_t to)
{
	if (from < to)
		CHECK(send(d->fd, (const uint8_t *)message + from, to - from, MSG_NOSIGNAL) == (ssize_t)(to - from));
}

static bool comes(struct dead *d, uint32_t request, uint32_t word)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	uint32_t reply[5];

	return poll(&p, 1, PATIENCE_MS) == 1 && recv(d->fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) &&
	       reply[0] == request && reply[1] == KEEP_FLAGS_REPLY && reply[2] == 8 && reply[3] == word;
}

/* Whatever was before it, this is asked now, and its answer is the next that comes. */
static void asks(struct dead *d)
{
	static const uint32_t ask[3] = { KEEP_GET_FEATURES, 1, 0 };

	put(d, ask, 0, sizeof(ask));
	CHECK(comes(d, KEEP_GET_FEATURES, (uint32_t)FEATURES));
}

static bool ends(struct dead *d)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	char byte;

	return poll(&p, 1, PATIENCE_MS) == 1 && recv(d->fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

#define QUEUE 7u
static const uint32_t get_base[5] = { KEEP_GET_VRING_BASE, 1, 8, QUEUE, 0 }; /* wants an answer */
static const uint32_t set_base[5] = { 10, 1, 8, QUEUE, 256 }; /* wants none */

/* The kernel has noted that the switch has so many bytes of a message, the last of them by a call that it has not looked at. */
static void note(struct dead *d, const uint32_t *message, uint32_t before, uint32_t taken)
{
	struct keep_reading *r = &d->slot->reading;
	struct keep_call *call = &r->calls[r->state & 1];

	memcpy(r->front, message, taken < KEEP_FRONT ? taken : KEEP_FRONT);
	call->before = before;
	call->moved.msg_len = taken - before;
}

/* Killed with so much of a message taken, and with the same message behind it, or another. */
static void test_reading(void)
{
	for (uint32_t taken = 0; taken <= sizeof(get_base); taken++) {
		bool wants = test_below(2), same = test_below(2), late = test_below(2);
		const uint32_t *message = wants ? get_base : set_base, *next = same    ? message
									       : wants ? set_base
										       : get_base;
		struct dead d = begin();

		d.slot->reading.state = 2 * test_below(1000) + test_below(2);
		d.slot->answered = d.slot->reading.state >> 1;
		note(&d, message, test_below(taken + 1), taken);
		/* The other entry is an earlier call's. */
		d.slot->reading.calls[~d.slot->reading.state & 1].before = test_below(20);
		d.slot->reading.calls[~d.slot->reading.state & 1].moved.msg_len = 1 + test_below(20);
		if (!late) {
			put(&d, message, taken, sizeof(get_base));
			put(&d, next, 0, sizeof(get_base));
			die(&d);
		} else {
			die(&d);
			usleep(test_below(3000));
			for (uint32_t at = taken; at < sizeof(get_base); at++)
				put(&d, message, at, at + 1);
			put(&d, next, 0, sizeof(get_base));
		}
		if (wants)
			CHECK(comes(&d, KEEP_GET_VRING_BASE, QUEUE));
		if (next == get_base)
			CHECK(comes(&d, KEEP_GET_VRING_BASE, QUEUE));
		asks(&d);
		end(&d);
	}
}

/* A long payload, of which the table has but the beginning. */
static void test_long(void)
{
	static uint32_t message[3 + 1024] = { 25, 1 | KEEP_NEED_REPLY, 4096, QUEUE };

	for (uint32_t taken = 0; taken <= sizeof(message); taken += 1 + test_below(300)) {
		struct dead d = begin();

		d.slot->acknowledges = 1;
		note(&d, message, 0, taken);
		put(&d, message, taken, sizeof(message));
		die(&d);
		CHECK(comes(&d, 25, 0));
		asks(&d);
		end(&d);
	}
}

/* Messages that were passed on, of which some are answered, and one may be answered without the switch having said so. */
static void test_answering(void)
{
	for (uint32_t round = 0; round < 30; round++) {
		uint32_t first = round % 3 ? test_below(1000) : KEEP_NUMBERS - test_below(20);
		uint32_t asked = test_below(KEEP_ASKED + 1), sent = test_below(3), from = 0;
		struct dead d = begin();

		/* More than the socket holds is another thing. */
		asked = asked > 100 ? 100 : asked;
		for (uint32_t i = 0; i < asked; i++)
			d.slot->asked[((first + i) & KEEP_NUMBERS) % KEEP_ASKED] =
				(struct keep_request){ { KEEP_GET_VRING_BASE, 1, 8 }, i };
		d.slot->reading.state = ((first + asked) & KEEP_NUMBERS) << 1;
		d.slot->answered = first & KEEP_NUMBERS;
		d.slot->answer_bytes = 20;
		/* 0: the last that went out was said so; 1: one more went out; 2: it did not, but was about to. */
		d.slot->answer.before = (sent ? first : first - 1) & KEEP_NUMBERS;
		d.slot->answer.moved.msg_len = sent == 2 ? 0 : 20;
		if (sent == 1 && asked)
			from = 1;
		if (sent == 1 && !asked)
			d.slot->answer.before = (first - 1) & KEEP_NUMBERS;
		die(&d);
		for (uint32_t i = from; i < asked; i++)
			CHECK(comes(&d, KEEP_GET_VRING_BASE, i));
		asks(&d);
		end(&d);
	}
}

/* Negotiated or not, before or after: an acknowledgement is sent where it is waited for. */
static void test_acknowledgements(void)
{
	static const uint32_t set[5] = { 10, 1 | KEEP_NEED_REPLY, 8, QUEUE, 0 };

	for (uint32_t before = 0; before < 2; before++)
		for (uint32_t after = 0; after < 2; after++) {
			const uint32_t protocol[5] = { KEEP_SET_PROTOCOL_FEATURES, 1, 8, after ? KEEP_REPLY_ACK : 1,
						       0 };
			struct dead d = begin();

			d.slot->acknowledges = before;
			put(&d, set, 0, sizeof(set));
			put(&d, protocol, 0, sizeof(protocol));
			put(&d, set, 0, sizeof(set));
			die(&d);
			for (uint32_t i = 0; i < before + after; i++)
				CHECK(comes(&d, 10, 0));
			asks(&d);
			end(&d);
		}
}

/* A connection that the table does not know, or that cannot be gone on with, ends. */
static void test_ends(void)
{
	for (int what = 0; what < 8; what++) {
		struct dead d = begin_with(what == 6 ? 0 : GENERATION);
		struct keep_slot *s = d.slot;

		switch (what) {
		case 0: /* the switch had ended it */
			s->generation = 0;
			break;
		case 1: /* and had another one by then */
			s->generation = GENERATION + 1;
			break;
		case 2: /* half an answer went out */
			s->reading.state = 2;
			s->answer_bytes = 20;
			s->answer.moved.msg_len = 10;
			break;
		case 3: /* more was asked than is known */
			s->reading.state = (KEEP_ASKED + 1) << 1;
			break;
		case 4: /* no message is so long */
			note(&d, (const uint32_t[]){ 10, 1, 5000, 0, 0 }, 0, 16);
			break;
		case 5: /* nor is more taken than there is of one */
			note(&d, get_base, 0, sizeof(get_base));
			s->reading.calls[0].before = 1;
			break;
		case 6: /* it was given up before the stand-in heard of it */
			break;
		default: /* it was told */
			give(d.orders, KEEP_DROP, SLOT, 0, -1);
			break;
		}
		if (what < 7)
			die(&d);
		CHECK(ends(&d));
		end(&d);
	}
}

/* What comes as descriptors while the stand-in reads is of no use to it, and nobody is kept waiting by it. */
static void test_descriptors(void)
{
	struct dead d = begin();
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(200 * sizeof(int))];
	} control;

	die(&d);
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t count = 1 + test_below(200);
		struct iovec iov = { (void *)(uintptr_t)set_base, sizeof(set_base) };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		for (uint32_t i = 0; i < count; i++)
			((int *)(void *)CMSG_DATA(&control.align))[i] = 0;
		CHECK(sendmsg(d.fd, &msg, MSG_NOSIGNAL) == sizeof(set_base));
		if (round % 10 == 0)
			asks(&d);
	}
	asks(&d);
	end(&d);
}

int main(int argc, char **argv)
{
	char *slash;

	test_seed(argc, argv);
	CHECK(strlen(argv[0]) < sizeof(program) - 32);
	strcpy(program, argv[0]);
	slash = strrchr(program, '/');
	strcpy(slash ? slash + 1 : program, "csvn-standin");
	test_reading();
	test_reading();
	test_long();
	test_answering();
	test_acknowledgements();
	test_ends();
	test_descriptors();
	return 0;
}
