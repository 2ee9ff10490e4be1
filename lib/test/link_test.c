/* SPDX-License-Identifier: MIT */
/*
 * Brain and port in two threads, each of which sleeps whenever it may: neither sleeps while there is something for it. What the brain waits for is a command
 * that is done, room for a command, an event, and the events of a port that had no room for more of them.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "front_end.h"
#include "port_client.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 300u
#else
#define ROUNDS 1500u
#endif
#define LOST_MS 60000 /* a wake-up that has not come by then is lost */
#define NONE UINT64_MAX

static struct client client;
static struct interrupter interrupter; /* the brain's */
static int front;
static uint32_t asked, told; /* messages */
static uint64_t given, results;
static uint32_t slept; /* times that the brain has */

static void *run(void *unused)
{
	port_run(&client.port);
	return unused;
}

static void pause_a_moment(void)
{
	switch (test_below(6)) {
	case 0:
		usleep(test_below(200));
		break;
	case 1:
	case 2:
		for (uint32_t i = test_below(20); i; i--)
			sched_yield();
		break;
	default:
		break;
	}
}

static uint64_t done(void)
{
	struct csvn_progress p;

	link_progress(&client.link, &p);
	return p.done;
}

/* Take some of the events, or all. */
static void take(bool all)
{
	static uint8_t bytes[65536];
	uint32_t room = all || test_below(2) ? sizeof(bytes) : LINK_RECORD_MAX;
	int n;

	do {
		n = queue_take(&client.link.events, bytes, room);
		CHECK(n >= 0);
		for (int at = 0; at < n;) {
			struct csvn_event_message m = { .request = 0 };
			struct csvn_record r;

			memcpy(&r, bytes + at, sizeof(r));
			if (r.kind == CSVN_EVENT_MESSAGE) {
				memcpy(&m, bytes + at + sizeof(r), sizeof(m));
				CHECK(m.request == 14 && m.flags == told++);
			} else {
				CHECK(r.kind == CSVN_EVENT_RESULT && ++results);
			}
			at += (int)((r.length + 7) & ~7u);
		}
		if (n > 0 && link_is_stalled(&client.link))
			link_wake(&client.link, &interrupter);
	} while (all && n > 0);
}

static void sleep_until_rung(void)
{
	struct pollfd p = { .fd = client.bell, .events = POLLIN };
	eventfd_t count;

	slept++;
	if (poll(&p, 1, LOST_MS) != 1) {
		fprintf(stderr, "a wake-up is lost: %" PRIu64 " of %" PRIu64 " commands done, %u of %u messages told\n", done(),
			given, told, asked);
		exit(1);
	}
	CHECK(eventfd_read(client.bell, &count) == 0);
}

static void rest(uint64_t wanted)
{
	if (link_park(&client.link, wanted))
		sleep_until_rung();
}

static void flush(void)
{
	if (queue_rings(&client.link.commands))
		link_wake(&client.link, &interrupter);
}

static int put(uint32_t kind)
{
	struct csvn_record r = { .kind = kind, .handle = 0 };
	struct queue_part part = { &r.kind, sizeof(r) - QUEUE_HEADER };
	int rc = queue_put(&client.link.commands, &part, 1);

	CHECK(rc == 0 || rc == -EAGAIN);
	given += rc == 0;
	return rc;
}

static void await_done(void)
{
	while (done() < given) {
		take(false);
		rest(given);
	}
}

static void test_commands(void)
{
	for (uint32_t n = 1 + test_below(10); n; n--)
		CHECK(put(CSVN_COMMAND_NOTHING) == 0);
	flush();
	pause_a_moment();
	await_done();
}

/* It sleeps for events alone, and then wants a command to be done. */
static void test_want(void)
{
	take(true);
	if (!link_park(&client.link, NONE))
		return;
	pause_a_moment();
	link_want(&client.link, given + 1);
	CHECK(put(CSVN_COMMAND_NOTHING) == 0);
	flush();
	sleep_until_rung();
	await_done();
}

/* More than there is room for. */
static void test_room(void)
{
	for (uint32_t n = 0; n < 20000; n++) {
		if (n % 64 == 0 && test_below(2))
			flush();
		while (put(CSVN_COMMAND_NOTHING) < 0) {
			uint64_t next = done() + 1;

			flush();
			link_want(&client.link, next);
			take(true);
			rest(next);
		}
	}
	flush();
	await_done();
}

static bool ask(void)
{
	uint32_t message[3] = { 14, asked, 0 };

	if (send(front, message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return false;
	asked++;
	return true;
}

static void await_told(void)
{
	while (told != asked) {
		take(test_below(2));
		pause_a_moment();
		if (told != asked)
			rest(NONE);
	}
}

static void test_events(void)
{
	for (uint32_t n = 1 + test_below(5); n; n--) {
		CHECK(ask());
		pause_a_moment();
	}
	await_told();
}

/* As many as a port tells before some are taken, and more. */
static void test_stall(void)
{
	uint32_t most = 130 + test_below(300);

	for (uint32_t n = 0; n < most && ask(); n++)
		if (n % 100 == 0)
			pause_a_moment();
	pause_a_moment();
	await_told();
}

/* Outcomes come all the same, when there is room for them: also when nothing else is told then. */
static void test_backlog(void)
{
	uint64_t wanted = results;

	for (uint32_t n = 0; n < 40000; n++, wanted++) {
		while (put(CSVN_COMMAND_QUEUE_STOP) < 0) {
			flush();
			sched_yield();
		}
	}
	flush();
	while (done() < given)
		usleep(1000);
	while (results != wanted) {
		take(true);
		if (results != wanted)
			rest(NONE);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int pair[2];

	test_seed(argc, argv);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(interrupter_open(&interrupter) == 0);
	client_open(&client, pair[0]);
	front = pair[1];
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		switch (test_below(8)) {
		case 0:
		case 1:
			test_commands();
			break;
		case 2:
		case 3:
			test_want();
			break;
		case 4:
		case 5:
			test_events();
			break;
		case 6:
			test_stall();
			break;
		default:
			if (i % 10 == 0)
				test_room();
			if (i % 10 == 1)
				test_backlog();
		}
	}
	test_room();
	test_backlog();
	printf("the brain has slept %u times\n", slept);
	CHECK(slept > ROUNDS / 10 && put(CSVN_COMMAND_END) == 0);
	flush();
	pthread_join(thread, NULL);
	client_close(&client);
	close(front);
	return 0;
}
