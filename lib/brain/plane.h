/* SPDX-License-Identifier: MIT */
/*
 * The brain's side: a plane's ports, and the sockets that front-ends connect to.
 *
 * Theory of operation. One thread waits for front-ends, for ports' bells and for the ends of their processes, and does nothing else: it takes no message and no descriptor of a
 * front-end, nor of a port. TypeScript, while it is awake, looks at those ports that had something lately, and whether there is any of the rest; before it sleeps it says so, and is then told by the plane's bell (hear.c). It starts a port for each front-end that it admits, and talks to that by its link (link.h).
 *
 * Locking: plane->lock guards all of it. It is held for moments: what takes time (starting a process, closing) is done without it.
 */
#ifndef CSVN_BRAIN_PLANE_H
#define CSVN_BRAIN_PLANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "csvn/abi.h"
#include "csvn/spin.h"
#include "handle.h"
#include "interrupt.h"
#include "link.h"

#define PLANES_MAX 256u
#define LISTENERS_MAX 1024u
#define PORTS_MAX 4096u
#define NOTHING_WANTED UINT64_MAX

enum watched { WATCHED_WAKE = 1, WATCHED_LISTENER, WATCHED_PROCESS, WATCHED_BELL };

struct listener {
	int handle;
	int fd;
	bool resting; /* it cannot accept for want of descriptors */
	bool waiting; /* nor while a front-end that has come waits to be started, or to be forgotten */
	char path[108];
};

struct port {
	int handle;
	enum csvn_port_state state;
	bool starting; /* csvn_port_start() works on it */
	bool forgotten; /* it is there until csvn_port_start() is through with it, and its process has ended */
	struct csvn_accepted who;
	bool janitor;
	bool told; /* who has been taken */
	bool dirty; /* commands are to be flushed */
	bool end_told;
	int32_t signal; /* that has ended it; 0: none */
	int front; /* until it is started; then -1 */
	int process; /* pidfd, or -1 */
	int bell; /* an eventfd: link.h */
	bool heard; /* it is in the plane's list of those that are looked at; else it rings when there is something */
	bool unheard; /* it was killed: whatever it says, nobody looks */
	uint64_t wanted; /* so many commands done are waited for; NOTHING_WANTED: none */
	int pid;
	struct link link;
	uint64_t busy_polled; /* of its counters, when these were read last */
	bool fruitful; /* it has had something to say since it was parked last */
	uint32_t quiet; /* times that others had something to say since it had */
	uint32_t vain; /* rings since the last tick for which there was nothing */
};

struct busy_poll {
	struct csvn_spin spin;
	uint64_t slept_at; /* nanoseconds; 0: it does not sleep */
};

struct plane {
	int handle;
	pthread_mutex_t lock;
	pthread_t thread;
	int epoll;
	int wake; /* eventfd: look at closing */
	int bell; /* TypeScript's, a unix socket */
	bool sleeps; /* TypeScript does, until a byte comes there */
	bool news; /* it does not, and is to look at what there is but ports */
	struct busy_poll busy_poll; /* TypeScript's, before it sleeps */
	struct interrupter interrupter; /* wakes ports */
	bool closing;
	int resting; /* errno, or 0 */
	char *program; /* ports' */
	uint32_t first_id; /* of ports' users and groups; 0: they have the switch's */
	uint32_t port_descriptors; /* at most */
	struct handle_table listeners, ports;
	uint32_t dirty_count, heard_count, heard_next;
	int dirty[PORTS_MAX];
	int heard[PORTS_MAX]; /* ports that TypeScript looks at while it is awake, and which comes first */
	uint64_t ticked; /* nanoseconds: when the last tick was */
	uint32_t busy_poll_limit; /* of each port: link.h */
	uint32_t busy_polled[PORTS_MAX]; /* budget()'s */
	uint32_t users; /* calls inside; guarded by the registry's lock */
};

/* The plane of a handle, locked; NULL when there is none. Pair with plane_leave(). */
struct plane *plane_enter(int handle);
void plane_leave(struct plane *p);
int plane_watch(const struct plane *p, int fd, enum watched what, int handle);
/* The same for what somebody else signals, and nobody reads: each signal is told of, and what was full is so for ever. */
int plane_watch_signals(const struct plane *p, int fd, enum watched what, int handle);
/* Whether the next ones are told of; when they are again, so is what came meanwhile. It does not fail either. */
void plane_heed_signals(const struct plane *p, int fd, bool heeded, enum watched what, int handle);
void plane_unwatch(const struct plane *p, int fd);
/* Whether what is watched is told of. It takes no memory, so it does not fail; what is not watched stays so. */
void plane_heed(const struct plane *p, int fd, bool heeded, enum watched what, int handle);
/* TypeScript is to look: it is woken if it sleeps. */
void plane_ring(struct plane *p);
/* A connection to a listening unix socket, or -errno. */
int plane_dial(const uint8_t *path, uint32_t path_bytes);

/* A plane that is complete gets a handle, by which it is found: that, or -errno. */
int plane_register(struct plane *p);
/* It is found no more; NULL: there was none. Then wait until nobody is inside. */
struct plane *plane_unregister(int handle);
void plane_wait_unused(const struct plane *p);

#endif
