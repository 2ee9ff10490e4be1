/* SPDX-License-Identifier: MIT */
/* Listening unix sockets and the front-ends' connections on them. */
#ifndef CSVN_SESSION_H
#define CSVN_SESSION_H

#include <time.h>

#include "plane.h"
#include "rest.h"
#include "stream.h"

struct listener {
	int handle;
	int fd;
	struct resting resting;
	char path[108];
};

#define MESSAGE_SECONDS 5 /* that a front-end has to complete a message */

struct session {
	int handle;
	time_t begun; /* monotonic second in which the message that is being read began; 0: between messages */
	bool ended; /* said so to TypeScript, which closes it */
	bool handed_over; /* to the stand-in: ended here, and not there */
	bool paused, backend_paused; /* not read until there is room for events */
	struct burst burst;
	struct keep_slot *slot; /* for the stand-in, or NULL: keep.h */
	struct watch front_watch, back_watch;
	struct stream front, back;
};

void listener_accept(struct plane *p, int handle);
void listener_destroy(struct plane *p, struct listener *l);
void session_read(struct plane *p, struct session *s);
void session_read_backend(struct plane *p, struct session *s);
void session_resume(struct plane *p, struct session *s);
/* Nothing more is read of it, nor sent, and nobody is told. */
void session_rest(struct plane *p, struct session *s);
/* Once a second while any message is incomplete: end the sessions that take too long. */
void session_tick(struct plane *p);
void session_destroy(struct plane *p, struct session *s);

#endif
