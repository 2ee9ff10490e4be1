/* SPDX-License-Identifier: MIT */
/* Looking for events before parking: only after a short wait, given up when it does not pay; and what comes meanwhile is found. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "plane.h"

static char directory[] = "/tmp/csvn-look-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static uint8_t events[4096];

/* An event: a front-end has come, and goes at once. */
static void make_event(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	close(fd);
}

static void *make_event_later(void *microseconds)
{
	usleep(*(useconds_t *)microseconds);
	make_event();
	return NULL;
}

static uint64_t looks(int handle)
{
	struct plane *p = plane_enter(handle);
	uint64_t found = p->look;

	plane_leave(p);
	return found;
}

/* Take events until there are none. */
static uint32_t drain(int plane)
{
	uint32_t total = 0;
	int n;

	while ((n = csvn_events_take(plane, events, sizeof(events))) > 0)
		total += (uint32_t)n;
	CHECK(n == 0);
	return total;
}

/* A wait that ends at once: there is an event already. */
static void wait_shortly(int plane)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < 1000 && !found; i++) {
		make_event();
		usleep(1000);
		CHECK(csvn_events_wait(plane, events, sizeof(events), 10000) > 0);
		found = looks(plane);
		CHECK(found == 0 || found == LOOK_NS);
	}
	CHECK(found);
}

int main(int argc, char **argv)
{
	int plane = csvn_plane_open(1 << 20), listener;
	useconds_t delays[] = { 0, 20, 50, 100, 2000 };

	test_seed(argc, argv);
	CHECK(plane >= 0 && mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", directory);
	listener = csvn_listen(plane, (const uint8_t *)address.sun_path, (uint32_t)strlen(address.sun_path), 0600);
	CHECK(listener >= 0 && looks(plane) == 0 && drain(plane) == 0);

	wait_shortly(plane);
	drain(plane);
	CHECK(looks(plane) == 0); /* it has not paid */
	CHECK(csvn_events_wait(plane, events, sizeof(events), 1) == 0 && looks(plane) == 0); /* nothing came */
	wait_shortly(plane);
	drain(plane);
	CHECK(csvn_events_wake(plane) == 0 && csvn_events_wait(plane, events, sizeof(events), 10000) == 0);
	CHECK(looks(plane) == 0); /* no event, soon as it was */

	/* Whenever an event comes, before a look, while it lasts or after it, it is found. */
	for (uint32_t i = 0; i < 100; i++) {
		pthread_t thread;
		uint32_t found;

		wait_shortly(plane);
		CHECK(pthread_create(&thread, NULL, make_event_later, &delays[i % 5]) == 0);
		found = drain(plane);
		pthread_join(thread, NULL);
		while (!found) {
			int n = csvn_events_wait(plane, events, sizeof(events), 10000);

			CHECK(n > 0);
			found += (uint32_t)n;
		}
		usleep(1000);
		drain(plane);
	}
	CHECK(csvn_plane_close(plane) == 0);
	CHECK(access(address.sun_path, F_OK) < 0 && rmdir(directory) == 0);
	return 0;
}
