/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "turn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "datagram_circuit.h"
#include "device.h"
#include "device_queues.h"
#include "events.h"
#include "files.h"
#include "host_circuit.h"
#include "host_connection.h"
#include "host_ends.h"
#include "host_listener.h"
#include "host_options.h"
#include "busy_poll.h"
#include "peers.h"
#include "rest.h"
#include "session.h"
#include "wake.h"
#include "watch.h"

#define TICK_MS 1000
#define BATCH 64 /* descriptors handled between two looks at what else there is */

static void init(struct port *p)
{
	memset(p, 0, sizeof(*p));
	p->epoll = p->interrupter.file = -1;
	p->epoch = 1;
	p->polls = true;
	busy_poll_init(&p->busy_poll);
	session_init(&p->session, &p->interrupter);
	device_init(&p->device);
	peers_init(&p->peers);
	handle_table_init(&p->host_arenas, HOST_ARENAS_MAX);
	handle_table_init(&p->host_circuits, HOST_CIRCUITS_MAX);
	handle_table_init(&p->host_datagrams, HOST_CIRCUITS_MAX);
	handle_table_init(&p->host_listeners, HOST_LISTENERS_MAX);
	handle_table_init(&p->host_connections, HOST_CIRCUITS_MAX);
	handle_table_init(&p->files, FILES_MAX);
	watch_init(&p->wake_watch, WATCHED_WAKE, 0, 0);
	watch_init(&p->files_watch, WATCHED_FILES, 0, 0);
}

int port_open(struct port *p, const struct port_parts *parts)
{
	int rc;

	init(p);
	host_options_begin();
	rc = link_open(&p->link, parts->memory, false);
	p->link.wake = parts->wake;
	p->link.files = parts->files;
	p->link.bell = parts->bell;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (rc == 0 && p->epoll < 0)
		rc = -errno;
	if (rc == 0)
		rc = interrupter_open(&p->interrupter);
	/* Neither is read: a ring is told once. */
	if (rc == 0)
		rc = watch_for(p, &p->wake_watch, parts->wake, EPOLLIN | EPOLLET);
	if (rc == 0)
		rc = watch_for(p, &p->files_watch, parts->files, EPOLLIN);
	if (rc == 0 && parts->front >= 0)
		rc = session_begin(p, parts->front);
	if (rc < 0)
		port_close(p);
	return rc;
}

void port_close(struct port *p)
{
	host_end(p);
	device_end(p, &p->device);
	peers_end(p);
	session_end(p);
	files_end(p);
	backlog_free(&p->backlog);
	interrupter_close(&p->interrupter);
	if (p->epoll >= 0)
		close(p->epoll);
	link_close(&p->link);
	init(p);
}

/* The brain is gone, and with it all that it has let there be. The front-end is kept alive. */
static void go_on_alone(struct port *p)
{
	p->alone = true;
	watch_drop(p, &p->files_watch);
	/* Whoever reads what the switch says is to see its end. */
	(void)dup2(STDIN_FILENO, STDERR_FILENO);
	host_end(p);
	device_end(p, &p->device);
	peers_end(p);
	files_end(p);
	/* What the brain was to be told, and what it had commanded, is nobody's business any more: the port sleeps all the same. */
	p->news = false;
	busy_poll_init(&p->busy_poll);
	session_alone(p);
}

static void dispatch(struct port *p, uint64_t data, uint32_t events)
{
	int handle = watch_handle(data);
	struct host_connection *c;
	struct host_listener *l;
	struct host_datagram *g;
	struct host_circuit *h;
	struct peer *peer;

	switch (watch_what(data)) {
	case WATCHED_WAKE:
		break; /* commands are looked for in any case */
	case WATCHED_FILES:
		if (!p->alone && files_receive(p) < 0)
			go_on_alone(p);
		break;
	case WATCHED_SESSION:
		session_read(p);
		break;
	case WATCHED_BACKEND:
		session_read_backend(p);
		break;
	case WATCHED_KICK:
		device_kicked(p, &p->device, watch_aux(data));
		break;
	case WATCHED_PEER:
		peer = handle_get(&p->peers.table, handle);
		if (peer)
			peer_rung(p, peer);
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

/* The brain has taken events: those go on that stopped for want of room, each in its turn. */
static void resume(struct port *p)
{
	if (!port_taken(p))
		return;
	/* They were news when they came, but the brain sleeps for those that it can see. */
	p->news = p->news || !backlog_is_empty(&p->backlog);
	(void)backlog_flush(&p->backlog, &p->link.events);
	if (!p->stalled)
		return;
	p->stalled = false;
	device_resume(p, &p->device);
	session_resume(p);
	rest_resume(p);
}

/* True: the brain has taken events meanwhile, for which something waits here. */
static bool tell(struct port *p)
{
	struct csvn_progress progress = { .done = p->done,
					  .delivered = p->device.delivered,
					  .delivered_resets = p->device.delivered_resets,
					  .counters = p->counters };

	progress.counters.routes = p->device.routes.count;
	progress.counters.host_circuits = p->host_circuits.count + p->host_datagrams.count;
	__atomic_store_n(&p->link.shared->stalled, p->stalled || !backlog_is_empty(&p->backlog), __ATOMIC_RELAXED);
	/* Behind it, by its fence, is a look at what the brain has taken; the brain looks at stalled after it has. */
	link_tell(&p->link, &progress, p->news);
	p->news = false;
	return (p->stalled || !backlog_is_empty(&p->backlog)) &&
	       __atomic_load_n(&p->link.events.shared->consumed, __ATOMIC_ACQUIRE) != p->taken;
}

static int timeout(const struct port *p)
{
	if (p->more || p->device.again)
		return 0;
	return p->resting ? REST_MS : p->session.begun ? TICK_MS : -1;
}

void port_turn(struct port *p, bool sleeps)
{
	struct epoll_event ready[BATCH];
	int n = busy_poll_wait(p, &p->busy_poll, ready, BATCH, sleeps ? timeout(p) : 0);

	p->more = !p->alone && commands_obey(p);
	for (int i = 0; i < n && !p->over; i++)
		dispatch(p, ready[i].data.u64, ready[i].events);
	if (p->session.begun)
		session_tick(p);
	if (p->alone)
		return;
	resume(p);
	if (p->device.again)
		device_turn(p, &p->device);
	if (p->resting)
		rest_tick(p);
	busy_poll_batch(p, &p->busy_poll);
	if (p->device.routes.heads[ROUTES_DUE])
		wake_flush(p, &p->device);
	device_flush(p, &p->device);
	p->more = tell(p) || p->more;
}

void port_run(struct port *p)
{
	while (!p->over)
		port_turn(p, true);
}
