/* SPDX-License-Identifier: MIT */
/*
 * Connections that come in by published ports: how many may be on their way to TypeScript, what becomes of those that it has not decided about,
 * and what happens while there are no descriptors.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "descriptor.h"
#include "host.h"

#define LOOPBACK 0x7f4d6205u /* 127.77.98.5: this test's own */
#define MANY 40

static int plane, listener;
static uint16_t port;

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int count = 0;

	CHECK(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	return fd;
}

struct seen {
	uint32_t accepted, gone, sessions, batch; /* batch: the most that came at once */
	int connections[512];
	int gone_connection;
	int shorts[16];
	uint32_t short_count;
};

static void take(struct seen *seen)
{
	static uint8_t buffer[65536];
	uint32_t batch = 0;
	int n = csvn_events_take(plane, buffer, sizeof(buffer));

	CHECK(n >= 0);
	for (int at = 0; at < n;) {
		struct csvn_event_header h;

		memcpy(&h, buffer + at, sizeof(h));
		at += (int)((h.length + 7) & ~7u);
		if (h.kind == CSVN_EVENT_HOST_ACCEPTED) {
			CHECK(seen->accepted < 512);
			seen->connections[seen->accepted++] = (int)h.aux;
			batch++;
		}
		if (h.kind == CSVN_EVENT_HOST_GONE) {
			seen->gone++;
			seen->gone_connection = h.handle;
		}
		if (h.kind == CSVN_EVENT_ACCEPTED) {
			seen->sessions++;
			CHECK(csvn_session_close(plane, h.handle) == 0);
		}
		if (h.kind == CSVN_EVENT_SHORT) {
			CHECK(seen->short_count < 16);
			seen->shorts[seen->short_count++] = (int)h.aux;
		}
	}
	seen->batch = batch > seen->batch ? batch : seen->batch;
}

/* Until something is seen, or 20 s have passed. */
#define AWAIT(seen, cond)                                                \
	do {                                                             \
		for (int tries = 0; !(cond) && tries < 20000; tries++) { \
			usleep(1000);                                    \
			take(seen);                                      \
		}                                                        \
		CHECK(cond);                                             \
	} while (0)

static void begin(void)
{
	struct csvn_host_address address = { .family = 4 };
	uint32_t ip = htonl(LOOPBACK);

	memcpy(address.ip, &ip, sizeof(ip));
	plane = csvn_plane_open(1 << 20);
	CHECK(plane >= 0);
	listener = csvn_host_listen(plane, &address);
	CHECK(listener >= 0);
	port = (uint16_t)csvn_host_listener_port(plane, listener);
}

/* One that waits is told of when its client has reset it, not when it has but finished writing; at most once. */
static void test_wait(void)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct seen seen = { 0 };
	int clients[3];

	for (int i = 0; i < 3; i++)
		clients[i] = dial();
	AWAIT(&seen, seen.accepted == 3);
	for (int i = 0; i < 3; i++)
		CHECK(csvn_host_wait(plane, seen.connections[i]) == 0);
	CHECK(write(clients[0], "x", 1) == 1 && shutdown(clients[0], SHUT_WR) == 0);
	CHECK(setsockopt(clients[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(clients[1]);
	AWAIT(&seen, seen.gone == 1);
	CHECK(seen.gone_connection == seen.connections[1]);
	usleep(20000);
	take(&seen);
	CHECK(seen.gone == 1);
	for (int i = 0; i < 3; i++)
		CHECK(csvn_host_refuse(plane, seen.connections[i]) == 0 &&
		      csvn_host_refuse(plane, seen.connections[i]) == -EBADF &&
		      csvn_host_wait(plane, seen.connections[i]) == -EBADF);
	close(clients[0]);
	close(clients[2]);
}

/* Not more at once than any other object may have, and all in the end; those that nobody takes go with the plane. */
static void test_burst(void)
{
	static int clients[240]; /* a burst, and the kernel's own backlog */
	struct seen seen = { 0 };

	for (int i = 0; i < 240; i++) {
		/* Not faster than they are accepted. */
		if (i % MANY == 0)
			usleep(20000);
		clients[i] = dial();
	}
	usleep(100000);
	AWAIT(&seen, seen.accepted == 240);
	CHECK(seen.batch > 1 && seen.batch <= EVENT_BURST);
	for (int i = 0; i < 240; i++) {
		CHECK(csvn_host_refuse(plane, seen.connections[i]) == 0);
		close(clients[i]);
	}
}

static void set_limit(rlim_t limit)
{
	struct rlimit now;

	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
	now.rlim_cur = limit;
	CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
}

/* Nobody accepts, spins, or takes the last descriptors; it is said once; when there are some again, all are served. */
static void test_short(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct csvn_counters before, after;
	struct seen seen = { 0 };
	struct rlimit old;
	int clients[10], front, unix_listener, spare;
	struct plane *p;

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "/tmp/csvn-listener-test-%d", (int)getpid());
	unix_listener = csvn_listen(plane, (const uint8_t *)to.sun_path, (uint32_t)strlen(to.sun_path), 0600);
	CHECK(unix_listener >= 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	for (int i = 0; i < 10; i++)
		clients[i] = -1;
	/* All but three of the numbers that there are, are ours already. */
	front = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 10; i++)
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(csvn_counters(plane, &before, sizeof(before)) == 0);
	set_limit((rlim_t)clients[9] + 4);
	CHECK(descriptor_made(dup(front)) == -EMFILE);
	for (int i = 0; i < 10; i++) {
		struct sockaddr_in a = { .sin_family = AF_INET,
					 .sin_port = htons(port),
					 .sin_addr.s_addr = htonl(LOOPBACK) };

		CHECK(connect(clients[i], (struct sockaddr *)&a, sizeof(a)) == 0);
	}
	CHECK(connect(front, (struct sockaddr *)&to, sizeof(to)) == 0);
	AWAIT(&seen, seen.short_count == 1);
	usleep(5 * REST_MS * 1000);
	take(&seen);
	/* Each listening socket had one more at most; the process can still open its files; and nothing is told again and again. */
	CHECK(seen.accepted + seen.sessions <= 2 && seen.short_count == 1 && seen.shorts[0] == EMFILE);
	spare = dup(front);
	CHECK(spare >= 0);
	close(spare);
	p = plane_enter(plane);
	CHECK(p->resting >= 1);
	struct pollfd ready = { .fd = p->epoll, .events = POLLIN };
	CHECK(poll(&ready, 1, 0) == 0);
	plane_leave(p);
	set_limit(old.rlim_cur);
	AWAIT(&seen, seen.accepted == 10 && seen.sessions == 1 && seen.short_count == 2);
	CHECK(seen.shorts[1] == 0);
	CHECK(csvn_counters(plane, &after, sizeof(after)) == 0 && after.rests == before.rests + 1);
	for (int i = 0; i < 10; i++)
		close(clients[i]);
	close(front);
	CHECK(csvn_unlisten(plane, unix_listener) == 0);
}

int main(int argc, char **argv)
{
	int before, client[5];

	test_seed(argc, argv);
	before = descriptors();
	begin();
	test_wait();
	test_burst();
	test_short();
	/* Some that TypeScript has never heard of, and some that it has, but not decided about. */
	for (int i = 0; i < 5; i++)
		client[i] = dial();
	usleep(20000);
	CHECK(csvn_plane_close(plane) == 0);
	for (int i = 0; i < 5; i++)
		close(client[i]);
	CHECK(descriptors() == before);
	return 0;
}
