/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ports.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "budget.h"
#include "closer.h"
#include "hear.h"
#include "listener.h"
#include "process.h"

/* One that TypeScript has not forgotten. */
static struct port *find(const struct plane *p, int handle)
{
	struct port *port = handle_get(&p->ports, handle);

	return port && !port->forgotten ? port : NULL;
}

static void init(struct port *port, int front)
{
	*port = (struct port){ .handle = -1, .front = front, .process = -1, .bell = -1, .wanted = NOTHING_WANTED };
	port->link = (struct link){ .wake = -1, .files = -1, .bell = -1 };
}

/* One that has a handle. */
static int add(struct plane *p, int front, struct port **out)
{
	struct port *port = calloc(1, sizeof(*port));
	int rc;

	if (!port)
		return -ENOMEM;
	init(port, front);
	rc = port->handle = handle_add(&p->ports, port);
	if (rc < 0)
		free(port);
	*out = port;
	return rc < 0 ? rc : 0;
}

int port_add(struct plane *p, int listener, int front)
{
	struct ucred cred = { 0 };
	socklen_t bytes = sizeof(cred);
	struct port *port;
	int rc = add(p, front, &port);

	if (rc < 0)
		return rc;
	(void)getsockopt(front, SOL_SOCKET, SO_PEERCRED, &cred, &bytes); /* zeros, where it fails */
	port->who = (struct csvn_accepted){ .port = port->handle,
					    .listener = listener,
					    .pid = cred.pid,
					    .uid = cred.uid,
					    .gid = cred.gid };
	plane_ring(p);
	return 0;
}

static void forget_bell(const struct plane *p, struct port *port)
{
	if (port->bell >= 0)
		plane_unwatch(p, port->bell);
	close_descriptor(&port->bell);
}

void port_destroy(struct plane *p, struct port *port)
{
	hear_not(p, port);
	if (port->handle >= 0)
		handle_remove(&p->ports, port->handle);
	if (port->process >= 0)
		plane_unwatch(p, port->process);
	close_descriptor(&port->process);
	forget_bell(p, port);
	if (port->front >= 0)
		closer_close(-1, -1, port->front, NULL);
	link_close(&port->link);
	free(port);
}

/* Its connection is closed, and it was forgotten before it was started. */
static void port_closed(struct plane *p, int handle)
{
	struct port *port = handle_get(&p->ports, handle);

	if (!port)
		return;
	listener_next(p, port->who.listener);
	port_destroy(p, port);
}

/* Forget it. Its process is let go of, and waited for when it ends: a dead one that nobody waits for takes a place in the system. */
static void let_go(struct plane *p, struct port *port)
{
	port->forgotten = true;
	if (port->starting)
		return;
	if (port->front >= 0) {
		/* The next one of its socket does not come before. */
		closer_close(p->handle, port->handle, port->front, port_closed);
		port->front = -1;
		return;
	}
	if (port->state == CSVN_PORT_RUNS) {
		forget_bell(p, port);
		link_close(&port->link);
	} else {
		port_destroy(p, port);
	}
}

void port_ended(struct plane *p, struct port *port)
{
	siginfo_t how = { .si_code = CLD_EXITED };

	/* It is over when it was waited for: then nothing of its memory is mapped any more. */
	if (waitid(P_PIDFD, (id_t)port->process, &how, WEXITED | WNOHANG) < 0 && errno != ECHILD)
		return;
	plane_unwatch(p, port->process);
	close_descriptor(&port->process);
	forget_bell(p, port);
	port->state = CSVN_PORT_ENDED;
	port->signal = how.si_code == CLD_EXITED ? 0 : how.si_status;
	if (port->forgotten)
		port_destroy(p, port);
	else
		plane_ring(p);
}

int csvn_janitor_add(int plane)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc;

	if (!p)
		return -EBADF;
	rc = add(p, -1, &port);
	if (rc == 0) {
		port->janitor = port->told = true;
		rc = port->handle;
	}
	plane_leave(p);
	return rc;
}

int csvn_accepted_take(int plane, struct csvn_accepted *out)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = 0;

	if (!p)
		return -EBADF;
	handle_for_each(&p->ports, i, port) {
		if (port->told)
			continue;
		port->told = true;
		*out = port->who;
		rc = 1;
		break;
	}
	plane_leave(p);
	return rc;
}

int csvn_ended_take(int plane, int32_t *signal)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EAGAIN;

	if (!p)
		return -EBADF;
	handle_for_each(&p->ports, i, port) {
		if (port->state != CSVN_PORT_ENDED || port->end_told)
			continue;
		port->end_told = true;
		*signal = port->signal;
		rc = port->handle;
		break;
	}
	plane_leave(p);
	return rc;
}

int csvn_port_start(int plane, int handle)
{
	struct plane *p = plane_enter(plane);
	struct port *port = p ? find(p, handle) : NULL;
	struct begun b;
	int rc = -EBADF;

	if (!p)
		return rc;
	if (port && port->state == CSVN_PORT_WAITS && !port->starting) {
		int front = port->front;

		port->starting = true;
		pthread_mutex_unlock(&p->lock);
		rc = process_start(p, port->janitor, front, &b);
		/* It may be the last one, and wait for what lies in it: closer.h. This is a thread that may. */
		close_descriptor(&front);
		pthread_mutex_lock(&p->lock);
		port->starting = false;
		port->front = -1;
		port->link = b.link;
		port->process = b.process;
		port->pid = b.pid;
		port->bell = b.bell;
		if (rc == 0) {
			rc = plane_watch_signals(p, port->bell, WATCHED_BELL, handle);
			if (rc == 0)
				rc = plane_watch(p, port->process, WATCHED_PROCESS, handle);
			if (rc < 0)
				process_give_up(port->pid);
		}
		if (rc < 0)
			forget_bell(p, port);
		port->state = rc < 0 ? CSVN_PORT_ENDED : CSVN_PORT_RUNS;
		if (rc == 0)
			hear(p, port);
		if (!port->janitor)
			listener_next(p, port->who.listener);
		if (port->forgotten)
			let_go(p, port);
	}
	plane_leave(p);
	return rc;
}

int csvn_port_command(int plane, int handle, uint32_t kind, int object, uint32_t aux, const uint8_t *bytes,
		      uint32_t count, uint32_t later)
{
	struct csvn_record r = { .kind = kind, .handle = object, .aux = aux };
	struct queue_part parts[2] = { { &r.kind, sizeof(r) - QUEUE_HEADER }, { bytes, count } };
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port && port->state == CSVN_PORT_RUNS)
		rc = count > LINK_RECORD_MAX - sizeof(r) ? -EMSGSIZE : queue_put(&port->link.commands, parts, 2);
	if (rc == 0 && !later && !port->dirty && p->dirty_count < PORTS_MAX) {
		port->dirty = true;
		p->dirty[p->dirty_count++] = handle;
	}
	plane_leave(p);
	return rc;
}

int csvn_ports_flush(int plane)
{
	struct plane *p = plane_enter(plane);

	if (!p)
		return -EBADF;
	for (uint32_t i = 0; i < p->dirty_count; i++) {
		struct port *port = find(p, p->dirty[i]);

		if (!port)
			continue;
		port->dirty = false;
		if (port->state == CSVN_PORT_RUNS && queue_rings(&port->link.commands))
			link_wake(&port->link, &p->interrupter);
	}
	p->dirty_count = 0;
	plane_leave(p);
	return 0;
}

int csvn_port_give(int plane, int handle, int file, int fd)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port && port->state == CSVN_PORT_RUNS)
		rc = link_give_file(&port->link, file, fd);
	plane_leave(p);
	return rc;
}

int csvn_port_progress(int plane, int handle, struct csvn_progress *progress)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port && port->link.shared) {
		link_progress(&port->link, progress);
		rc = 0;
	}
	plane_leave(p);
	return rc;
}

int csvn_port_moved(int plane, int handle, uint32_t number, uint64_t *sent_and_received)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port && port->link.shared && number < CSVN_MOVED_MAX) {
		sent_and_received[0] = port->link.shared->moved[number][0];
		sent_and_received[1] = port->link.shared->moved[number][1];
		rc = 0;
	}
	plane_leave(p);
	return rc;
}

int csvn_port_take(int plane, int handle, uint8_t *buffer, uint32_t bytes, struct csvn_progress *progress)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port && port->link.shared) {
		link_progress(&port->link, progress);
		rc = queue_take(&port->link.events, buffer, bytes);
		if (rc > 0 && port->state == CSVN_PORT_RUNS && link_is_stalled(&port->link))
			link_wake(&port->link, &p->interrupter);
	}
	plane_leave(p);
	return rc;
}

int csvn_port_revoke(int plane, int handle, uint32_t what, uint32_t number, uint32_t revoked)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = handle_get(&p->ports, handle);
	if (port && port->link.shared) {
		struct csvn_link *s = port->link.shared;
		uint8_t *flag = NULL;

		if (what == CSVN_REVOKE_CIRCUIT && number < CSVN_CIRCUITS_MAX)
			flag = &s->revoked_circuits[number];
		if (what == CSVN_REVOKE_PERMIT && number < CSVN_MOVED_MAX)
			flag = &s->revoked_permits[number];
		rc = flag ? 0 : -EINVAL;
		/* Mostly nothing is revoked: a page that is not touched takes no memory. */
		if (flag && *flag != (revoked != 0))
			__atomic_store_n(flag, revoked != 0, __ATOMIC_SEQ_CST);
	}
	plane_leave(p);
	return rc;
}

int csvn_port_state(int plane, int handle)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port)
		rc = port->state;
	plane_leave(p);
	return rc;
}

int csvn_port_pid(int plane, int handle)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port)
		rc = port->state == CSVN_PORT_RUNS ? port->pid : -ESRCH;
	plane_leave(p);
	return rc;
}

int csvn_port_kill(int plane, int handle)
{
	struct plane *p = plane_enter(plane);
	struct port *port;
	int rc = -EBADF;

	if (!p)
		return rc;
	port = find(p, handle);
	if (port)
		hear_not(p, port);
	if (port)
		rc = port->process < 0 || syscall(SYS_pidfd_send_signal, port->process, SIGKILL, NULL, 0) < 0 ? -ESRCH :
														 0;
	plane_leave(p);
	return rc;
}

int csvn_port_forget(int plane, int handle)
{
	struct plane *p = plane_enter(plane);
	struct port *port;

	if (!p)
		return -EBADF;
	port = find(p, handle);
	if (port)
		let_go(p, port);
	plane_leave(p);
	return port ? 0 : -EBADF;
}

static void budget(struct plane *p, uint64_t now)
{
	uint64_t elapsed = now - p->ticked;
	uint32_t ports = 0, *busy_polled = p->busy_polled;
	struct port *port;

	p->ticked = now;
	handle_for_each(&p->ports, i, port) {
		struct csvn_progress progress;
		uint64_t more;

		if (port->state != CSVN_PORT_RUNS || !port->link.shared || port->janitor || ports == PORTS_MAX)
			continue;
		link_progress(&port->link, &progress);
		more = progress.counters.busy_polled - port->busy_polled;
		port->busy_polled = progress.counters.busy_polled;
		busy_polled[ports++] = more < elapsed ? (uint32_t)(more * BUDGET_PORT / elapsed) : BUDGET_PORT;
	}
	p->busy_poll_limit = budget_limit(busy_polled, ports, budget_of_host(), p->busy_poll_limit);
	handle_for_each(&p->ports, i, port)
		if (port->link.shared)
			__atomic_store_n(&port->link.shared->busy_poll_limit, p->busy_poll_limit, __ATOMIC_RELAXED);
}

void ports_tick(struct plane *p, uint64_t now)
{
	struct port *port;

	budget(p, now);
	handle_for_each(&p->ports, i, port)
		hear_again(p, port);
}
