/* SPDX-License-Identifier: MIT */
/* Arenas that the data plane has mapped, for the host's ends of circuits. */
#define _GNU_SOURCE
#include "host_arena.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "datagram.h"

int host_map_end(struct port *p, struct csvn_end *end, const struct csvn_host_setup *s)
{
	const struct host_arena *a = handle_get(&p->host_arenas, s->arena);
	const uint64_t extents[4][2] = { { s->own_control, CSVN_PAGE },
					 { s->peer_control, CSVN_PAGE },
					 { s->tx_ring, s->ring_size },
					 { s->rx_ring, s->ring_size } };

	if (!a)
		return -EBADF;
	if (s->ring_size < CSVN_RING_MIN || s->ring_size > CSVN_RING_MAX || (s->ring_size & (s->ring_size - 1)))
		return -EINVAL;
	for (int i = 0; i < 4; i++)
		if (extents[i][0] % CSVN_PAGE || extents[i][0] > a->bytes || extents[i][1] > a->bytes - extents[i][0])
			return -ERANGE;
	/* SAFETY: each extent lies in the arena's mapping, which outlives its circuits: see host_arena_unmap(). */
	csvn_end_init(end, (void *)(a->memory + s->own_control), (void *)(a->memory + s->peer_control),
		      a->memory + s->tx_ring, a->memory + s->rx_ring, s->ring_size);
	/* While the socket is what is waited for, nothing is asked of the guest, but its end must be seen. */
	csvn_watch(end);
	return 0;
}

void host_arena_destroy(struct port *p, struct host_arena *a)
{
	handle_remove(&p->host_arenas, a->handle);
	munmap(a->memory, a->bytes);
	free(a);
}

int host_arena_map(struct port *p, int handle, int fd, uint64_t bytes)
{
	struct host_arena *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	a->handle = handle;
	a->bytes = bytes;
	a->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rc = a->memory == MAP_FAILED ? -errno : handle_put(&p->host_arenas, handle, a);
	if (rc < 0) {
		if (a->memory != MAP_FAILED)
			munmap(a->memory, bytes);
		free(a);
		return rc;
	}
	(void)madvise(a->memory, bytes, MADV_DONTDUMP);
	return 0;
}

static bool is_inside(const struct host_arena *a, const void *page)
{
	return (const uint8_t *)page >= a->memory && (const uint8_t *)page < a->memory + a->bytes;
}

/* Is a host circuit in this arena? Its end's pages say so. */
static bool is_used(const struct port *p, const struct host_arena *a)
{
	struct host_datagram *g;
	struct host_circuit *h;

	handle_for_each(&p->host_circuits, i, h)
		if (is_inside(a, h->end.own))
			return true;
	handle_for_each(&p->host_datagrams, i, g)
		if (is_inside(a, g->end.own))
			return true;
	return false;
}

void host_arena_unmap(struct port *p, int handle)
{
	struct host_arena *a = handle_get(&p->host_arenas, handle);

	/* The brain counts them as well: one that is used stays until the end. */
	if (a && !is_used(p, a))
		host_arena_destroy(p, a);
}
