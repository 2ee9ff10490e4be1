/* SPDX-License-Identifier: MIT */
/*
 * A data plane: one thread that waits on every descriptor of the switch (listening sockets, front-ends, kicks), and the objects
 * that it works on.
 *
 * Locking: plane->lock guards everything in it. The thread holds it while it handles a batch of what epoll gave,
 * callers from TypeScript while they change or complete something; neither does anything under it that can block. So a
 * response goes from TypeScript straight to the guest, without a hop to the thread.
 *
 * A thread that is busy takes the lock again before whoever waits for it has woken up. So callers wait for plane->next first, and keep it until they
 * have the lock; by that the thread sees that somebody waits, and when that lasts it lets them in before it goes on.
 */
#ifndef CSVN_PLANE_H
#define CSVN_PLANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"
#include "csvn/circuit.h"
#include "event_queue.h"
#include "handle.h"
#include "interrupt.h"
#include "watch.h"

#define PLANES_MAX 256u
#define LISTENERS_MAX 1024u
#define SESSIONS_MAX 4096u
#define DEVICES_MAX 4096u

#define LOOKED_MAX 16u
#define HOST_ARENAS_MAX 65536u
#define HOST_CIRCUITS_MAX (1u << 20)

/* Events that one object may queue before TypeScript has taken some: nobody fills the queue for the others. */
#define EVENT_BURST 128u

struct plane {
	pthread_mutex_t lock, next;
	pthread_t thread;
	int epoll;
	int wake; /* eventfd: look at stalled, again and closing */
	struct watch wake_watch;
	int bell; /* unix socket to TypeScript, or -1 */
	int standin; /* unix socket to the stand-in, or -1; see keep.h */
	uint8_t *keep_table;
	uint32_t keep_generation; /* of the last session's slot */
	uint32_t keep_dues; /* slots of which it was not told all */
	uint64_t keep_due[SESSIONS_MAX / 64];
	bool closing;
	bool parked; /* TypeScript waits for the bell */
	bool stalled; /* something waits for room in events */
	int incomplete; /* sessions in the middle of a message */
	uint32_t epoch; /* of events: one more at each take */
	uint32_t users; /* calls inside; guarded by the registry's lock */
	struct event_queue events;
	struct csvn_counters counters;
	bool holding; /* interrupts of the devices in held wait for csvn_signals() */
	uint32_t held_count;
	int held[DEVICES_MAX];
	uint8_t datagram[CSVN_DATAGRAM_MAX]; /* one that is being received: see datagram_receive.c */
	uint64_t work; /* of the pumps, ever: see host.h */
	struct interrupter interrupter;
	uint32_t again_count;
	int again[DEVICES_MAX]; /* those that have another turn before the thread sleeps */
	bool looks; /* the thread is at work, and looks at what is in looked before it sleeps */
	uint32_t looked_count;
	int looked[LOOKED_MAX]; /* host circuits; see look.h */
	struct handle_table listeners, sessions, devices;
	uint32_t resting; /* listening sockets that cannot accept: see rest.h */
	uint64_t rested; /* when that was last looked at, milliseconds */
	struct handle_table host_arenas, host_circuits, host_datagrams, host_listeners, host_connections;
};

/* How many events an object has queued in the present epoch. */
struct burst {
	uint32_t epoch;
	uint32_t count;
};

/* May this object queue an event of so many bytes? If not, it is to stop, and is resumed later. */
bool plane_admits(struct plane *p, struct burst *b, uint32_t bytes);
void plane_event(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		 struct event_part b);
/* One that can wait for the next event. */
void plane_event_quiet(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		       struct event_part b);
void plane_event_text(struct plane *p, enum csvn_event_kind kind, int handle, uint32_t aux, const char *text);

/* The plane of a handle, locked; NULL when there is none. Pair with plane_leave(). */
struct plane *plane_enter(int handle);
void plane_leave(struct plane *p);

#endif
