/* SPDX-License-Identifier: MIT */
/* A plane's thread, which begins and ends with it: it waits for front-ends and for the ends of ports' processes. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "hear.h"
#include "ids.h"
#include "listener.h"
#include "plane.h"
#include "ports.h"

#define REST_MS 100
#define TICK_MS 1000
#define BATCH 16

/* One front-end alone. */
static void take(struct plane *p, struct listener *l)
{
	int fd = listener_accept(p, l);

	if (fd < 0)
		return;
	if (port_add(p, l->handle, fd) == 0)
		listener_wait(p, l);
	else
		closer_close(-1, -1, fd, NULL);
}

static void dispatch(struct plane *p, uint64_t data)
{
	int handle = (int)(uint32_t)data;
	struct listener *l;
	struct port *port;

	switch ((enum watched)(data >> 32)) {
	case WATCHED_WAKE:
		break;
	case WATCHED_LISTENER:
		l = handle_get(&p->listeners, handle);
		if (l)
			take(p, l);
		break;
	case WATCHED_PROCESS:
		port = handle_get(&p->ports, handle);
		if (port)
			port_ended(p, port);
		break;
	case WATCHED_BELL:
		port = handle_get(&p->ports, handle);
		if (port)
			hear(p, port);
		break;
	}
}

static void tick(struct plane *p)
{
	struct timespec t;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (now - p->ticked >= TICK_MS * 1000000ull)
		ports_tick(p, now);
}

static void *run(void *arg)
{
	struct plane *p = arg;
	struct epoll_event ready[BATCH];
	bool closing = false;
	int timeout = -1;

	(void)pthread_setname_np(pthread_self(), "csvn-plane");
	while (!closing) {
		int n = epoll_wait(p->epoll, ready, BATCH, timeout);

		pthread_mutex_lock(&p->lock);
		closing = p->closing;
		for (int i = 0; i < n && !closing; i++)
			dispatch(p, ready[i].data.u64);
		if (p->resting)
			listeners_tick(p);
		if (!closing)
			tick(p);
		timeout = p->resting ? REST_MS : p->ports.count ? TICK_MS : -1;
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static void destroy(struct plane *p)
{
	struct listener *l;
	struct port *port;

	handle_for_each(&p->ports, i, port)
		port_destroy(p, port);
	handle_for_each(&p->listeners, i, l)
		listener_destroy(p, l);
	handle_table_free(&p->ports);
	handle_table_free(&p->listeners);
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->wake >= 0)
		close(p->wake);
	if (p->bell >= 0)
		close(p->bell);
	interrupter_close(&p->interrupter);
	pthread_mutex_destroy(&p->lock);
	free(p->program);
	free(p);
}

static int start_thread(struct plane *p)
{
	sigset_t all, before;
	int rc;

	/* Signals are for the process that loaded the library. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

int csvn_plane_open(const uint8_t *program, uint32_t program_bytes, const uint8_t *bell, uint32_t bell_bytes,
		    uint32_t first_id, uint32_t descriptors)
{
	struct plane *p = calloc(1, sizeof(*p));
	int rc, handle;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	handle_table_init(&p->listeners, LISTENERS_MAX);
	handle_table_init(&p->ports, PORTS_MAX);
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->program = strndup((const char *)program, program_bytes);
	p->first_id = ids_can(first_id) ? first_id : 0;
	p->port_descriptors = descriptors;
	p->bell = plane_dial(bell, bell_bytes);
	csvn_spin_init(&p->busy_poll.spin);
	rc = interrupter_open(&p->interrupter);
	if (rc == 0)
		rc = p->epoll < 0 || p->wake < 0 ? -EMFILE : !p->program ? -ENOMEM : p->bell < 0 ? p->bell : 0;
	if (rc == 0)
		rc = plane_watch(p, p->wake, WATCHED_WAKE, 0);
	if (rc == 0)
		rc = start_thread(p);
	if (rc < 0) {
		destroy(p);
		return rc;
	}
	handle = plane_register(p);
	if (handle < 0) {
		pthread_mutex_lock(&p->lock);
		p->closing = true;
		pthread_mutex_unlock(&p->lock);
		(void)eventfd_write(p->wake, 1);
		pthread_join(p->thread, NULL);
		destroy(p);
	}
	return handle;
}

int csvn_plane_close(int handle)
{
	struct plane *p = plane_unregister(handle);

	if (!p)
		return -EBADF;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_mutex_unlock(&p->lock);
	(void)eventfd_write(p->wake, 1);
	pthread_join(p->thread, NULL);
	plane_wait_unused(p);
	destroy(p);
	return 0;
}

int csvn_plane_short(int plane)
{
	struct plane *p = plane_enter(plane);
	int rc;

	if (!p)
		return -EBADF;
	rc = p->resting;
	plane_leave(p);
	return rc;
}

uint32_t csvn_abi_version(void)
{
	return CSVN_ABI_VERSION;
}
