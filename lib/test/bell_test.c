/* SPDX-License-Identifier: MIT */
/* The bell: it rings for who is parked, once, and whatever comes meanwhile is found. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "plane.h"

static char directory[] = "/tmp/csvn-look-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static uint8_t events[4096];
static int bell = -1;

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

/* Wait for the bell for so long; has it rung? */
static bool rings(int ms)
{
	struct pollfd poller = { .fd = bell, .events = POLLIN };
	char byte;

	if (poll(&poller, 1, ms) != 1)
		return false;
	CHECK(read(bell, &byte, 1) == 1);
	return true;
}

/* Park, and wait for the next event; how many bytes. */
static uint32_t await_events(int plane)
{
	int parked = csvn_events_park(plane), n;

	CHECK(parked >= 0);
	if (parked)
		CHECK(rings(10000));
	n = csvn_events_take(plane, events, sizeof(events));
	CHECK(n > 0);
	return (uint32_t)n;
}

static void hang_bell(int plane)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/b", directory);
	CHECK(csvn_events_park(plane) == -ENOTCONN);
	CHECK(csvn_events_bell(plane, (const uint8_t *)at.sun_path, (uint32_t)strlen(at.sun_path)) == -ENOENT);
	CHECK(csvn_events_bell(plane, (const uint8_t *)at.sun_path, 0) == -ENAMETOOLONG);
	CHECK(csvn_events_bell(plane, events, sizeof(at.sun_path)) == -ENAMETOOLONG);
	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 4) == 0);
	CHECK(csvn_events_bell(12345, (const uint8_t *)at.sun_path, (uint32_t)strlen(at.sun_path)) == -EBADF);
	CHECK(csvn_events_bell(plane, (const uint8_t *)at.sun_path, (uint32_t)strlen(at.sun_path)) == 0);
	CHECK(csvn_events_bell(plane, (const uint8_t *)at.sun_path, (uint32_t)strlen(at.sun_path)) == -EEXIST);
	close(accept(listener, NULL, NULL)); /* the other plane's */
	bell = accept(listener, NULL, NULL);
	CHECK(bell >= 0);
	close(listener);
	unlink(at.sun_path);
}

int main(int argc, char **argv)
{
	int plane = csvn_plane_open(1 << 20), listener;
	useconds_t delays[] = { 0, 20, 50, 100, 2000 };

	test_seed(argc, argv);
	CHECK(plane >= 0 && mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", directory);
	listener = csvn_listen(plane, (const uint8_t *)address.sun_path, (uint32_t)strlen(address.sun_path), 0600);
	CHECK(listener >= 0 && drain(plane) == 0);
	hang_bell(plane);

	make_event();
	CHECK(!rings(50)); /* nobody is parked */
	CHECK(await_events(plane));
	drain(plane);
	CHECK(csvn_events_park(plane) == 1 && !rings(10)); /* nothing came */
	CHECK(csvn_events_wake(plane) == 0 && rings(10000) && !rings(10));
	CHECK(csvn_events_wake(plane) == 0 && !rings(10)); /* nobody is parked any more */

	/* Whenever an event comes, before parking or after it, the bell rings once. */
	for (uint32_t i = 0; i < 200; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, make_event_later, &delays[i % 5]) == 0);
		usleep(delays[i % 3]);
		CHECK(await_events(plane));
		pthread_join(thread, NULL);
		usleep(1000);
		drain(plane);
		CHECK(!rings(0));
	}
	CHECK(csvn_plane_close(plane) == 0);
	CHECK(recv(bell, events, 1, 0) == 0); /* and the bell with it */
	close(bell);
	CHECK(access(address.sun_path, F_OK) < 0 && rmdir(directory) == 0);
	return 0;
}
