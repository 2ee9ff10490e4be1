/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "plane.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "datagram.h"
#include "keep.h"
#include "look.h"
#include "session.h"

#define TICK_MS 1000
#define BATCH 64 /* descriptors handled between two looks at what else there is */
#define PATIENCE_NS 200000u /* of those who wait for the lock, while the thread has turns to give */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_idle = PTHREAD_COND_INITIALIZER;
static struct handle_table registry = { .limit = PLANES_MAX };

struct plane *plane_enter(int handle)
{
	struct plane *p;

	pthread_mutex_lock(&registry_lock);
	p = handle_get(&registry, handle);
	if (p)
		p->users++;
	pthread_mutex_unlock(&registry_lock);
	if (p) {
		pthread_mutex_lock(&p->next);
		pthread_mutex_lock(&p->lock);
		pthread_mutex_unlock(&p->next);
	}
	return p;
}

void plane_leave(struct plane *p)
{
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_lock(&registry_lock);
	if (--p->users == 0)
		pthread_cond_broadcast(&registry_idle);
	pthread_mutex_unlock(&registry_lock);
}

/* There is room for events again: let those go on that stopped, each in its turn. */
static void resume(struct plane *p)
{
	struct session *s;
	struct device *d;

	if (!p->stalled)
		return;
	p->stalled = false;
	handle_for_each(&p->devices, i, d)
		device_resume(p, d);
	handle_for_each(&p->sessions, i, s)
		session_resume(p, s);
	rest_resume(p);
}

static void dispatch(struct plane *p, uint64_t data, uint32_t events)
{
	int handle = watch_handle(data);
	struct host_connection *c;
	struct host_listener *l;
	struct host_datagram *g;
	struct host_circuit *h;
	struct session *s;
	struct device *d;
	eventfd_t ignored;

	switch (watch_what(data)) {
	case WATCHED_WAKE:
		(void)eventfd_read(p->wake, &ignored);
		resume(p);
		break;
	case WATCHED_LISTENER:
		listener_accept(p, handle);
		break;
	case WATCHED_SESSION:
		s = handle_get(&p->sessions, handle);
		if (s)
			session_read(p, s);
		break;
	case WATCHED_BACKEND:
		s = handle_get(&p->sessions, handle);
		if (s)
			session_read_backend(p, s);
		break;
	case WATCHED_KICK:
		d = handle_get(&p->devices, handle);
		if (d)
			device_kicked(p, d, watch_aux(data));
		break;
	case WATCHED_HOST:
		h = handle_get(&p->host_circuits, handle);
		if (h)
			host_ready(p, h, events);
		break;
	case WATCHED_HOST_DATAGRAM:
		g = handle_get(&p->host_datagrams, handle);
		if (g)
			datagram_ready(p, g, events);
		break;
	case WATCHED_HOST_LISTENER:
		l = handle_get(&p->host_listeners, handle);
		if (l)
			host_accept(p, l);
		break;
	case WATCHED_HOST_CONNECTION:
		c = handle_get(&p->host_connections, handle);
		if (c)
			host_connection_ready(p, c);
		break;
	}
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Has somebody waited for the lock for long? since: when it was first seen that somebody waits, or 0. */
static bool is_waited_for(struct plane *p, uint64_t *since)
{
	uint64_t now;

	if (pthread_mutex_trylock(&p->next) == 0) {
		pthread_mutex_unlock(&p->next);
		*since = 0;
		return false;
	}
	now = nanoseconds();
	if (!*since)
		*since = now;
	return now - *since >= PATIENCE_NS;
}

/* The thread takes the lock, after those who have waited for long. */
static void lock_after_others(struct plane *p, uint64_t *since)
{
	if (!is_waited_for(p, since)) {
		pthread_mutex_lock(&p->lock);
		return;
	}
	pthread_mutex_lock(&p->next);
	pthread_mutex_lock(&p->lock);
	pthread_mutex_unlock(&p->next);
	*since = 0;
}

/* Between two turns: those who have waited for long go first. */
static void let_in(struct plane *p, uint64_t *since)
{
	if (!is_waited_for(p, since))
		return;
	pthread_mutex_unlock(&p->lock);
	lock_after_others(p, since);
}

/* Each device that is to be looked at again has a turn; those that want one more have it after the others' descriptors. */
static void give_turns(struct plane *p, uint64_t *since)
{
	for (uint32_t left = p->again_count; left && p->again_count; left--) {
		struct device *d = handle_get(&p->devices, p->again[0]);

		memmove(p->again, p->again + 1, --p->again_count * sizeof(p->again[0]));
		if (d)
			device_turn(p, d);
		let_in(p, since);
	}
}

static void *run(void *arg)
{
	struct plane *p = arg;
	struct epoll_event ready[BATCH];
	uint64_t since = 0;
	struct look look;
	bool closing = false;
	int timeout = -1;

	(void)pthread_setname_np(pthread_self(), "csvn-plane");
	look_init(&look);
	while (!closing) {
		int n = look_wait(p, &look, ready, BATCH, timeout);

		lock_after_others(p, &since);
		p->looks = true;
		for (int i = 0; i < n; i++) {
			dispatch(p, ready[i].data.u64, ready[i].events);
			let_in(p, &since);
		}
		give_turns(p, &since);
		if (p->incomplete)
			session_tick(p);
		if (p->resting)
			rest_tick(p);
		if (p->keep_dues)
			keep_tick(p);
		timeout = p->again_count ? 0 : p->keep_dues ? KEEP_MS : p->resting ? REST_MS : p->incomplete ? TICK_MS : -1;
		closing = p->closing;
		look_batch(p, &look);
		p->looks = false;
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static void destroy_host(struct plane *p)
{
	struct host_connection *c;
	struct host_listener *l;
	struct host_datagram *g;
	struct host_circuit *h;
	struct host_arena *a;

	handle_for_each(&p->host_connections, i, c)
		host_connection_destroy(p, c);
	handle_for_each(&p->host_listeners, i, l)
		host_listener_destroy(p, l);
	handle_for_each(&p->host_circuits, i, h)
		host_circuit_destroy(p, h);
	handle_for_each(&p->host_datagrams, i, g)
		datagram_destroy(p, g);
	handle_for_each(&p->host_arenas, i, a)
		host_arena_destroy(p, a);
	handle_table_free(&p->host_listeners);
	handle_table_free(&p->host_connections);
	handle_table_free(&p->host_circuits);
	handle_table_free(&p->host_datagrams);
	handle_table_free(&p->host_arenas);
}

static void destroy(struct plane *p)
{
	struct listener *l;
	struct session *s;
	struct device *d;

	keep_end(p);
	destroy_host(p);
	handle_for_each(&p->devices, i, d)
		device_destroy(p, d);
	handle_for_each(&p->sessions, i, s)
		session_destroy(p, s);
	handle_for_each(&p->listeners, i, l)
		listener_destroy(p, l);
	handle_table_free(&p->devices);
	handle_table_free(&p->sessions);
	handle_table_free(&p->listeners);
	event_queue_free(&p->events);
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->wake >= 0)
		close(p->wake);
	if (p->bell >= 0)
		close(p->bell);
	interrupter_close(&p->interrupter);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->next);
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

int csvn_plane_open(uint32_t event_bytes)
{
	struct plane *p;
	int rc, handle;

	if (event_bytes < 65536 || event_bytes > 1u << 30)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->next, NULL);
	handle_table_init(&p->listeners, LISTENERS_MAX);
	handle_table_init(&p->sessions, SESSIONS_MAX);
	handle_table_init(&p->devices, DEVICES_MAX);
	handle_table_init(&p->host_arenas, HOST_ARENAS_MAX);
	handle_table_init(&p->host_circuits, HOST_CIRCUITS_MAX);
	handle_table_init(&p->host_datagrams, HOST_CIRCUITS_MAX);
	handle_table_init(&p->host_listeners, LISTENERS_MAX);
	handle_table_init(&p->host_connections, HOST_CIRCUITS_MAX);
	watch_init(&p->wake_watch, WATCHED_WAKE, 0, 0);
	p->epoch = 1;
	p->bell = p->standin = p->interrupter.file = -1;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = p->epoll < 0 || p->wake < 0 ? -errno : event_queue_init(&p->events, event_bytes);
	if (rc == 0)
		rc = interrupter_open(&p->interrupter);
	if (rc == 0)
		rc = watch_for(p, &p->wake_watch, p->wake, EPOLLIN);
	if (rc == 0)
		rc = start_thread(p);
	if (rc < 0) {
		destroy(p);
		return rc;
	}
	pthread_mutex_lock(&registry_lock);
	handle = handle_add(&registry, p);
	pthread_mutex_unlock(&registry_lock);
	if (handle < 0) {
		p->closing = true;
		(void)eventfd_write(p->wake, 1);
		pthread_join(p->thread, NULL);
		destroy(p);
	}
	return handle;
}

int csvn_plane_close(int handle)
{
	struct plane *p;

	pthread_mutex_lock(&registry_lock);
	p = handle_remove(&registry, handle);
	pthread_mutex_unlock(&registry_lock);
	if (!p)
		return -EBADF;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_mutex_unlock(&p->lock);
	(void)eventfd_write(p->wake, 1);
	pthread_join(p->thread, NULL);
	pthread_mutex_lock(&registry_lock);
	while (p->users)
		pthread_cond_wait(&registry_idle, &registry_lock);
	pthread_mutex_unlock(&registry_lock);
	destroy(p);
	return 0;
}

int csvn_counters(int plane, struct csvn_counters *out, uint32_t bytes)
{
	struct plane *p;

	if (bytes != sizeof(*out))
		return -EINVAL;
	p = plane_enter(plane);
	if (!p)
		return -EBADF;
	*out = p->counters;
	out->sessions = p->sessions.count;
	out->devices = p->devices.count;
	out->host_circuits = p->host_circuits.count + p->host_datagrams.count;
	plane_leave(p);
	return 0;
}

uint32_t csvn_abi_version(void)
{
	return CSVN_ABI_VERSION;
}
