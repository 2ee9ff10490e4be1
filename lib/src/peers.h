/* SPDX-License-Identifier: MIT */
/*
 * The other ports whose circuits this one's doorbells wake. Each shares a board with this one (board.h), on which either marks whom the other is to wake, and
 * a bell each, which is only rung when the other has said that it does not look.
 *
 * Boards that were rung lately are polled before the thread sleeps (busy_poll.h), so that nobody has to ring meanwhile.
 */
#ifndef CSVN_PEERS_H
#define CSVN_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

#define PEERS_MAX 65536u
#define PEER_BYTES (2 * sizeof(struct board_shared)) /* of the memory: a board for each direction */

void peers_init(struct peers *p);
void peers_end(struct port *p);

/* Take the files of a board over, under this number. 0 or -errno. */
int peer_add(struct port *p, int handle, const struct csvn_board *b);
void peer_remove(struct port *p, int handle);
/* A place on the board is marked for this circuit of the port from now on. Without memory for that the process ends. */
void peer_place(struct peer *peer, uint32_t mark, uint32_t id);
void peer_unplace(struct peer *peer, uint32_t mark);

/* A circuit rang for the other end's place; peers_ring() tells those that are to be told. */
void peer_mark(struct port *p, struct peer *peer, uint32_t mark);
void peers_ring(struct port *p);
/* A peer has rung: wake whom it has marked, and poll it for a while. */
void peer_rung(struct port *p, struct peer *peer);
/* Those that are polled: is something marked? Wake whom they have marked. */
bool peers_due(const struct port *p);
void peers_turn(struct port *p);
/* They are not polled any more: they ring from now on. True: something was marked after all. */
bool peers_rest(struct port *p);

#endif
