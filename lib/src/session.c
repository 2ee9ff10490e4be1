/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "session.h"

#include "descriptor.h"
#include "foreign.h"
#include "keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct event_part nothing;

static const char *end_text(int rc)
{
	switch (rc) {
	case -EPIPE:
		return "connection closed by the front-end";
	case -EMSGSIZE:
		return "message payload over 4096 bytes";
	case -E2BIG:
		return "more than 8 descriptors with a message, or too few left to receive them";
	case -EBADF:
		return "descriptor that is neither memory (a memfd) nor an eventfd nor a unix stream socket";
	case -ETIMEDOUT:
		return "message not completed within 5 seconds";
	case -EAGAIN:
		return "front-end does not read its replies";
	default:
		return "read or write failed";
	}
}

/* The stand-in has a duplicate. After a hand-over it goes on with that; before, the front-end is to see the end at once all the same. */
static void close_front(struct session *s)
{
	if (s->handed_over) {
		close(s->front.fd);
		s->front.fd = -1;
	}
	stream_close(&s->front);
}

static void close_backend(struct plane *p, struct session *s)
{
	watch_drop(p, &s->back_watch);
	stream_close(&s->back);
}

static void end_backend(struct plane *p, struct session *s, int rc)
{
	close_backend(p, s);
	plane_event_text(p, CSVN_EVENT_BACKEND_END, s->handle, (uint32_t)-rc, end_text(rc));
}

/* Remember since when a message is incomplete; a new one, or none, begins the count anew. */
static void set_begun(struct plane *p, struct session *s, time_t begun)
{
	if (!s->begun != !begun)
		p->incomplete += begun ? 1 : -1;
	s->begun = begun;
}

static time_t monotonic_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + 1;
}

void session_rest(struct plane *p, struct session *s)
{
	s->ended = true;
	set_begun(p, s, 0);
	watch_drop(p, &s->front_watch);
	watch_drop(p, &s->back_watch);
}

static void end_session(struct plane *p, struct session *s, int rc)
{
	if (s->ended)
		return;
	session_rest(p, s);
	keep_drop(p, s);
	close_front(s);
	close_backend(p, s);
	plane_event_text(p, CSVN_EVENT_SESSION_END, s->handle, rc == -EPIPE ? 0 : (uint32_t)-rc, end_text(rc));
}

/* Queue whole messages as events. 0: read all there is; 1: paused for want of room; negative: the end. */
static int pass_messages(struct plane *p, struct session *s, struct stream *from, enum csvn_event_kind kind)
{
	struct csvn_event_message m;
	int rc;

	for (;;) {
		rc = stream_read(from);
		if (rc <= 0)
			return rc;
		m = (struct csvn_event_message){ .request = from->header[0],
						.flags = from->header[1],
						.size = from->header[2],
						.descriptors = from->descriptors };

		if (!plane_admits(p, &s->burst, (uint32_t)sizeof(m) + m.size))
			return 1;
		memcpy(m.fds, from->fds, sizeof(m.fds));
		plane_event(p, kind, s->handle, 0, (struct event_part){ &m, sizeof(m) },
			    (struct event_part){ from->payload, m.size });
		stream_next(from, from == &s->front && keep_passing(s));
	}
}

/* Wait for more; or not at all while what has come cannot be passed on: a hang-up would be told of again and again. */
static int read_on(struct plane *p, struct watch *w, int fd, bool paused)
{
	if (!paused)
		return watch_for(p, w, fd, EPOLLIN);
	watch_drop(p, w);
	return 0;
}

void session_read(struct plane *p, struct session *s)
{
	int rc;

	if (s->ended)
		return;
	rc = pass_messages(p, s, &s->front, CSVN_EVENT_MESSAGE);
	if (rc < 0) {
		end_session(p, s, rc);
		return;
	}
	if (rc > 0 || !s->front.have)
		set_begun(p, s, 0);
	else if (!s->begun)
		set_begun(p, s, monotonic_seconds());
	s->paused = rc > 0;
	rc = read_on(p, &s->front_watch, s->front.fd, s->paused);
	if (rc < 0)
		end_session(p, s, rc);
}

void session_read_backend(struct plane *p, struct session *s)
{
	int rc;

	if (s->ended || s->back.fd < 0)
		return;
	rc = pass_messages(p, s, &s->back, CSVN_EVENT_BACKEND_MESSAGE);
	s->backend_paused = rc > 0;
	if (rc >= 0)
		rc = read_on(p, &s->back_watch, s->back.fd, s->backend_paused);
	if (rc < 0)
		end_backend(p, s, rc);
}

void session_resume(struct plane *p, struct session *s)
{
	if (s->paused)
		session_read(p, s);
	if (s->backend_paused)
		session_read_backend(p, s);
}

void session_tick(struct plane *p)
{
	time_t now = monotonic_seconds();
	struct session *s;

	handle_for_each(&p->sessions, i, s)
		if (s->begun && now - s->begun >= MESSAGE_SECONDS)
			end_session(p, s, -ETIMEDOUT);
}

void session_destroy(struct plane *p, struct session *s)
{
	set_begun(p, s, 0);
	handle_remove(&p->sessions, s->handle);
	watch_drop(p, &s->front_watch);
	keep_drop(p, s);
	close_front(s);
	close_backend(p, s);
	free(s);
}

void listener_accept(struct plane *p, int handle)
{
	struct listener *l = handle_get(&p->listeners, handle);
	struct csvn_event_accepted who = { 0 };
	struct ucred cred = { 0 };
	socklen_t bytes = sizeof(cred);
	struct session *s;
	int fd, rc;

	if (!l)
		return;
	if (!rest_admits(p, &l->resting, sizeof(who)))
		return;
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	rc = fd < 0 ? errno : descriptor_is_last(fd) ? EMFILE : 0;
	if (descriptor_is_want(rc))
		rest_now(p, &l->resting, rc);
	if (fd < 0) {
		rest_unused(&l->resting);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		foreign_close(fd);
		return;
	}
	stream_init(&s->front, fd);
	stream_init(&s->back, -1);
	rc = s->handle = handle_add(&p->sessions, s);
	watch_init(&s->front_watch, WATCHED_SESSION, s->handle, 0);
	watch_init(&s->back_watch, WATCHED_BACKEND, s->handle, 0);
	if (rc >= 0)
		rc = watch_for(p, &s->front_watch, fd, EPOLLIN);
	if (rc < 0) {
		session_destroy(p, s);
		return;
	}
	keep_add(p, s);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) == 0)
		who = (struct csvn_event_accepted){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
	plane_event(p, CSVN_EVENT_ACCEPTED, s->handle, (uint32_t)handle, (struct event_part){ &who, sizeof(who) },
		    nothing);
}

int csvn_session_send(int plane, int session, const uint8_t *bytes, uint32_t count, int fd)
{
	struct plane *p = plane_enter(plane);
	struct session *s;
	int rc = -EBADF;

	if (!p)
		return rc;
	s = handle_get(&p->sessions, session);
	if (s && !s->ended) {
		struct mmsghdr *noted = keep_answering(s, bytes, count);

		rc = stream_send(&s->front, bytes, count, fd, noted);
		if (rc < 0)
			end_session(p, s, rc);
		else
			keep_answered(s, noted);
	}
	plane_leave(p);
	return rc;
}

int csvn_session_close(int plane, int session)
{
	struct plane *p = plane_enter(plane);
	struct session *s;

	if (!p)
		return -EBADF;
	s = handle_get(&p->sessions, session);
	if (s)
		session_destroy(p, s);
	plane_leave(p);
	return s ? 0 : -EBADF;
}

int csvn_backend_attach(int plane, int session, int fd)
{
	struct plane *p = plane_enter(plane);
	struct session *s = p ? handle_get(&p->sessions, session) : NULL;
	int rc = -EBADF;

	if (s && !s->ended)
		rc = foreign_kind(fd) == FOREIGN_CHANNEL ? 0 : -ENOTSOCK;
	if (rc == 0) {
		close_backend(p, s);
		rc = watch_for(p, &s->back_watch, fd, EPOLLIN);
		if (rc == 0) {
			stream_init(&s->back, fd);
			s->backend_paused = false;
		}
	}
	if (rc < 0)
		foreign_close(fd);
	if (p)
		plane_leave(p);
	return rc;
}

int csvn_backend_send(int plane, int session, const uint8_t *bytes, uint32_t count, int fd)
{
	struct plane *p = plane_enter(plane);
	struct session *s;
	int rc = -EBADF;

	if (!p)
		return rc;
	s = handle_get(&p->sessions, session);
	if (s && s->back.fd >= 0) {
		rc = stream_send(&s->back, bytes, count, fd, NULL);
		if (rc < 0)
			end_backend(p, s, rc);
	}
	plane_leave(p);
	return rc;
}
