/* SPDX-License-Identifier: MIT */
/*
 * What brain and port have in common: a memfd with both queues and with what each says without being asked; an eventfd by which the brain wakes the port; an
 * eventfd, the bell, by which the port wakes the brain; and a unix socket by which the brain gives files, and whose end says that the brain is gone.
 *
 * A bell that was a socket would bring descriptors, whose closing may take as long as a port's guest likes.
 *
 * Neither believes what it reads here (queue.h): a port may have been taken over by its guest.
 *
 * Who sleeps: the port says so in the queue of commands, the brain in that of events. The brain also says which command it waits for to be done;
 * a port that has done it rings, as it does for an event.
 */
#ifndef CSVN_LINK_H
#define CSVN_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"
#include "interrupt.h"
#include "queue.h"

#define LINK_COMMAND_BYTES (256u << 10)
#define LINK_EVENT_BYTES (256u << 10)
#define LINK_RECORD_MAX 8192u /* bytes of one record in either queue */

struct csvn_link {
	/* The port's. */
	_Alignas(64) struct csvn_progress progress;
	uint32_t stalled; /* it wants to be woken when events were taken */
	uint64_t moved[CSVN_MOVED_MAX][2]; /* by a permit's number: bytes to the guest, and from it */
	/* The brain's. */
	_Alignas(64) uint64_t wanted; /* so many commands done are waited for; ~0: none */
	uint32_t busy_poll_limit; /* thousandths of its time that the port may poll before it sleeps; 0: all of it */
	_Alignas(4096) uint8_t revoked_circuits[CSVN_CIRCUITS_MAX]; /* 1: no byte more; by number, and mostly untouched */
	uint8_t revoked_permits[CSVN_MOVED_MAX];
};

#define LINK_QUEUES ((sizeof(struct csvn_link) + 4095) & ~4095ul)
#define LINK_BYTES (LINK_QUEUES + 2 * sizeof(struct queue_shared) + LINK_COMMAND_BYTES + LINK_EVENT_BYTES)

/* The port's descriptors, by the numbers that it is started with. */
enum link_descriptor { LINK_FRONT = 3, LINK_MEMORY, LINK_WAKE, LINK_FILES, LINK_BELL, LINK_DESCRIPTORS };

struct link {
	struct csvn_link *shared;
	struct queue commands, events;
	int wake; /* eventfd, the brain's to signal */
	int files; /* unix socket, seqpacket */
	int bell; /* eventfd, the port's to signal; -1: none */
};

/* The consumer's: is there something? */
static inline bool queue_has(const struct queue *q)
{
	return __atomic_load_n(&q->shared->produced, __ATOMIC_ACQUIRE) != q->own;
}

/* Map the memory; the descriptor is closed. brain: this is the brain's side. 0 or -errno. */
int link_open(struct link *l, int memory, bool brain);
void link_close(struct link *l);

/* The port's side. */

/* To be asked before each byte or datagram that passes. */
static inline bool link_is_revoked(const uint8_t *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE) != 0;
}

/* Tell how far it is, and wake the brain if that waits for it. news: there are events that it is to hear of at once. */
void link_tell(struct link *l, const struct csvn_progress *progress, bool news);
/* The next file that the brain has given, and its number: 1, 0 when there is none, -EPIPE when the brain is gone. */
int link_take_file(const struct link *l, int *file, int *fd);

/* The brain's side. */

/* Give a file: 0, -EAGAIN, or another -errno when the port is gone. */
int link_give_file(const struct link *l, int file, int fd);
/* i: the brain's own. It never waits. */
void link_wake(const struct link *l, struct interrupter *i);
/* How far it is. */
void link_progress(const struct link *l, struct csvn_progress *out);
/* After events were taken: does the port wait for the room, and must it be woken? */
bool link_is_stalled(const struct link *l);
/* Before the brain sleeps. False: there are events, or so many commands are done. Else the bell rings once for either. */
bool link_park(struct link *l, uint64_t done);
/* While it sleeps: so many commands are waited for. Before the last of these is put, or the room for it is looked for. */
void link_want(const struct link *l, uint64_t done);

#endif
