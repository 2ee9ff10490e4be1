/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "events.h"
#include "foreign.h"
#include "watch.h"

#define ANSWERS_A_TURN 64u

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
	case -ENOBUFS:
		return "front-end does not wait for its replies";
	default:
		return "read or write failed";
	}
}

void session_init(struct session *s, struct interrupter *i)
{
	memset(s, 0, sizeof(*s));
	stream_init(&s->front, -1, i);
	stream_init(&s->back, -1, i);
	watch_init(&s->front_watch, WATCHED_SESSION, 0, 0);
	watch_init(&s->back_watch, WATCHED_BACKEND, 0, 0);
}

int session_begin(struct port *p, int front)
{
	stream_init(&p->session.front, front, &p->interrupter);
	return watch_for(p, &p->session.front_watch, front, EPOLLIN);
}

static void close_backend(struct port *p)
{
	watch_drop(p, &p->session.back_watch);
	stream_close(&p->session.back);
}

void session_end(struct port *p)
{
	struct session *s = &p->session;

	s->ended = true;
	s->begun = 0;
	watch_drop(p, &s->front_watch);
	stream_close(&s->front);
	close_backend(p);
	alone_free(&s->alone);
}

static void fail(struct port *p, int rc)
{
	if (p->session.ended)
		return;
	session_end(p);
	if (p->session.brainless)
		p->over = true;
	else
		port_event_text(p, CSVN_EVENT_SESSION_END, rc == -EPIPE ? 0 : (uint32_t)-rc, end_text(rc));
}

static void fail_backend(struct port *p, int rc)
{
	close_backend(p);
	port_event_text(p, CSVN_EVENT_BACKEND_END, (uint32_t)-rc, end_text(rc));
}

static time_t monotonic_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + 1;
}

/* Files of memory are told apart; asking that of them waits for nobody. */
static void identify(const struct stream *from, struct csvn_event_message *m)
{
	struct stat st;

	for (uint32_t i = 0; i < from->descriptors; i++) {
		m->tokens[i] = from->fds[i];
		if (foreign_kind(from->interrupter, from->fds[i]) != FOREIGN_MEMORY || foreign_stat(from->fds[i], &st) < 0)
			continue;
		m->files[i][0] = st.st_dev;
		m->files[i][1] = st.st_ino;
	}
}

/* Pass whole messages on. 0: read all there is; 1: paused for want of room; negative: the end. */
static int pass_messages(struct port *p, struct stream *from, enum csvn_event_kind kind)
{
	struct session *s = &p->session;

	for (;;) {
		struct csvn_event_message m = { .request = 0 };
		int rc = stream_read(from);

		if (rc <= 0)
			return rc;
		m.request = from->header[0];
		m.flags = from->header[1];
		m.size = from->header[2];
		m.descriptors = from->descriptors;
		if (!port_admits(p, &s->burst, (uint32_t)sizeof(m) + m.size))
			return 1;
		rc = from == &s->front ? alone_asked(&s->alone, from) : 0;
		if (rc < 0)
			return rc;
		identify(from, &m);
		port_event(p, kind, 0, 0, (struct event_part){ &m, sizeof(m) },
			   (struct event_part){ from->payload, m.size });
		stream_next(from);
	}
}

/* What is asked and not answered. 0 or -errno. */
static int answer_asked(struct session *s)
{
	uint8_t reply[ALONE_REPLY_MAX];
	uint32_t bytes;
	int rc = 0;

	while (rc == 0 && (bytes = alone_answer(&s->alone, reply)) > 0)
		rc = stream_send(&s->front, reply, bytes, -1);
	return rc;
}

/* Answer whole messages: each before the next is read, since none may come that reminds of it. As pass_messages(). */
static int answer_messages(struct port *p)
{
	struct session *s = &p->session;
	int rc = answer_asked(s);

	for (uint32_t i = 0; i < ANSWERS_A_TURN && rc == 0; i++) {
		rc = stream_read(&s->front);
		if (rc <= 0)
			return rc;
		rc = alone_asked(&s->alone, &s->front);
		if (rc < 0)
			return rc;
		while (s->front.descriptors)
			foreign_close(&p->interrupter, s->front.fds[--s->front.descriptors]);
		stream_next(&s->front);
		rc = answer_asked(s);
	}
	return rc;
}

/* Wait for more; or not at all while what has come cannot be passed on: a hang-up would be told of again and again. */
static int read_on(struct port *p, struct watch *w, int fd, bool paused)
{
	if (!paused)
		return watch_for(p, w, fd, EPOLLIN);
	watch_drop(p, w);
	return 0;
}

void session_read(struct port *p)
{
	struct session *s = &p->session;
	int rc;

	if (s->ended || s->front.fd < 0)
		return;
	rc = s->brainless ? answer_messages(p) : pass_messages(p, &s->front, CSVN_EVENT_MESSAGE);
	if (rc < 0) {
		fail(p, rc);
		return;
	}
	if (rc > 0 || !s->front.have)
		s->begun = 0;
	else if (!s->begun)
		s->begun = monotonic_seconds();
	s->paused = rc > 0;
	rc = read_on(p, &s->front_watch, s->front.fd, s->paused);
	if (rc < 0)
		fail(p, rc);
}

void session_read_backend(struct port *p)
{
	struct session *s = &p->session;
	int rc;

	if (s->ended || s->back.fd < 0)
		return;
	rc = pass_messages(p, &s->back, CSVN_EVENT_BACKEND_MESSAGE);
	s->backend_paused = rc > 0;
	if (rc >= 0)
		rc = read_on(p, &s->back_watch, s->back.fd, s->backend_paused);
	if (rc < 0)
		fail_backend(p, rc);
}

void session_resume(struct port *p)
{
	if (p->session.paused)
		session_read(p);
	if (p->session.backend_paused)
		session_read_backend(p);
}

void session_tick(struct port *p)
{
	if (p->session.begun && monotonic_seconds() - p->session.begun >= MESSAGE_SECONDS)
		fail(p, -ETIMEDOUT);
}

void session_alone(struct port *p)
{
	struct session *s = &p->session;

	s->brainless = true;
	close_backend(p);
	if (s->ended || s->front.fd < 0)
		p->over = true;
	else
		session_read(p);
}

void session_send(struct port *p, const uint8_t *bytes, uint32_t count)
{
	struct session *s = &p->session;
	int rc;

	if (s->ended || s->front.fd < 0)
		return;
	rc = stream_send(&s->front, bytes, count, -1);
	if (rc < 0)
		fail(p, rc);
	else
		alone_answered(&s->alone, bytes, count);
}

int session_attach_backend(struct port *p, int fd)
{
	struct session *s = &p->session;
	int rc = s->ended ? -EBADF : foreign_kind(&p->interrupter, fd) == FOREIGN_CHANNEL ? 0 : -ENOTSOCK;

	if (rc == 0) {
		close_backend(p);
		rc = watch_for(p, &s->back_watch, fd, EPOLLIN);
	}
	if (rc < 0) {
		foreign_close(&p->interrupter, fd);
		return rc;
	}
	stream_init(&s->back, fd, &p->interrupter);
	s->backend_paused = false;
	return 0;
}

void session_send_backend(struct port *p, const uint8_t *bytes, uint32_t count, int fd)
{
	struct session *s = &p->session;
	int rc;

	/* Its end has been told, and the brain may have attached another by the time that it hears of it. */
	if (s->back.fd < 0)
		return;
	rc = stream_send(&s->back, bytes, count, fd);
	if (rc < 0)
		fail_backend(p, rc);
}
