/* SPDX-License-Identifier: MIT */
/*
 * The switch's side of its stand-in: each session has a duplicate of its connection there, and a slot in which stands what the stand-in must know to go on
 * with it, should this process die at any moment. Without a stand-in all of this does nothing.
 *
 * The stand-in may be late (stopped, swapped out), and then its socket is full. What it was not told is remembered by slot, and told when it goes on: what matters
 * is what is true by then. Until then the table says which connections there are, and that counts when the switch dies meanwhile.
 */
#ifndef CSVN_KEEP_SIDE_H
#define CSVN_KEEP_SIDE_H

#include "session.h"

#define KEEP_MS 100 /* until the stand-in is told again what it was not told */

/* A session has begun, or is over. */
void keep_add(struct plane *p, struct session *s);
void keep_drop(struct plane *p, struct session *s);
/* The front-end's message that was read is about to be passed on: does it want an answer? */
bool keep_passing(struct session *s);
/* An answer is about to be sent: where the kernel is to note that, or NULL. */
struct mmsghdr *keep_answering(struct session *s, const uint8_t *bytes, uint32_t count);
/* It was sent. */
void keep_answered(struct session *s, const struct mmsghdr *noted);
/* While the stand-in has not been told everything. */
void keep_tick(struct plane *p);
/* The plane is closed: the stand-in takes over. */
void keep_end(struct plane *p);

#endif
