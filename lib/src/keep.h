/* SPDX-License-Identifier: MIT */
/*
 * The switch's side of its stand-in: each session has a duplicate of its connection there, and a slot in which stands what the stand-in must know to go on
 * with it, should this process die at any moment. Without a stand-in all of this does nothing.
 */
#ifndef CSVN_KEEP_SIDE_H
#define CSVN_KEEP_SIDE_H

#include "session.h"

/* A session has begun, or is over. */
void keep_add(struct plane *p, struct session *s);
void keep_drop(struct plane *p, struct session *s);
/* Around stream_read(): before, when it begins a message; and after, with what it said. */
void keep_before_read(struct session *s);
void keep_after_read(struct session *s, int rc);
/* A message was sent to the front-end. */
void keep_sent(struct session *s, const uint8_t *bytes, uint32_t count);
/* The plane is closed: the stand-in takes over. */
void keep_end(struct plane *p);

#endif
