/* SPDX-License-Identifier: MIT */
/*
 * Circuits whose other end is a socket of the host's stack, and the listening sockets of published ports.
 */
#ifndef CSVN_HOST_H
#define CSVN_HOST_H

#include <sys/socket.h>

#include "csvn/ring.h"
#include "plane.h"

struct host_arena {
	int handle;
	uint8_t *memory;
	uint64_t bytes;
};

/*
 * What a host circuit is in:
 * CONNECTING: nothing moves; the socket's first event tells the outcome.
 * OPEN: the pump moves bytes in both directions, each until its end.
 * DONE: TypeScript was told; nothing moves any more.
 */
enum host_state { HOST_CONNECTING, HOST_OPEN, HOST_DONE };

struct host_circuit {
	int handle;
	int fd;
	enum host_state state;
	uint32_t watched; /* epoll events that are asked for */
	int device; /* the guest's */
	uint32_t id;
	bool guest_closed; /* TypeScript said so */
	bool write_ended; /* the guest's FIN went out */
	bool read_ended; /* end of file came, and our FIN is set */
	struct csvn_end end;
};

struct host_listener {
	int handle;
	int fd;
};

/* The guest rang, or the socket has something. */
void host_doorbell(struct plane *p, int handle);
void host_ready(struct plane *p, struct host_circuit *h, uint32_t events);
void host_accept(struct plane *p, struct host_listener *l);
void host_circuit_destroy(struct plane *p, struct host_circuit *h);
void host_arena_destroy(struct plane *p, struct host_arena *a);
void host_listener_destroy(struct plane *p, struct host_listener *l);

/* address.c: to and from the system's form; the length, or -EAFNOSUPPORT. */
int address_to_system(const struct csvn_host_address *a, struct sockaddr_storage *out);
int address_from_system(const struct sockaddr_storage *a, struct csvn_host_address *out);

/* pump.c: move what can be moved, within a turn's budget. */
void pump(struct plane *p, struct host_circuit *h);
/* Tell TypeScript that a host circuit is over, once. */
void pump_done(struct plane *p, struct host_circuit *h, int error);

#endif
