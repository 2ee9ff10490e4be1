/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "closer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "plane.h"

struct closing {
	int plane, port, fd;
	void (*closed)(struct plane *p, int port);
};

static void *run(void *arg)
{
	struct closing c = *(struct closing *)arg;
	struct plane *p;

	free(arg);
	close(c.fd);
	p = c.closed ? plane_enter(c.plane) : NULL;
	if (!p)
		return NULL;
	c.closed(p, c.port);
	plane_leave(p);
	return NULL;
}

static int start_thread(struct closing *c)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int rc = pthread_attr_init(&attributes);

	if (rc)
		return rc;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attributes, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return rc;
}

void closer_close(int plane, int port, int fd, void (*closed)(struct plane *p, int port))
{
	struct closing *c = malloc(sizeof(*c));

	/* Without memory nothing goes on anyway. */
	if (!c)
		abort();
	*c = (struct closing){ .plane = plane, .port = port, .fd = fd, .closed = closed };
	/* Where the system has no room for a thread, the connection and its socket are lost; others are not kept. */
	if (start_thread(c) != 0)
		free(c);
}
