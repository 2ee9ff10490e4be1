/* SPDX-License-Identifier: MIT */
/* Arenas that the data plane has mapped, for the host's ends of circuits. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "datagram.h"

int host_map_end(struct plane *p, struct csvn_end *end, const struct csvn_host_setup *s)
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
	/* SAFETY: each extent lies in the arena's mapping, which outlives its circuits: see csvn_host_arena_unmap(). */
	csvn_end_init(end, (void *)(a->memory + s->own_control), (void *)(a->memory + s->peer_control),
		      a->memory + s->tx_ring, a->memory + s->rx_ring, s->ring_size);
	/* While the socket is what is waited for, nothing is asked of the guest, but its end must be seen. */
	csvn_watch(end);
	return 0;
}

void host_arena_destroy(struct plane *p, struct host_arena *a)
{
	handle_remove(&p->host_arenas, a->handle);
	munmap(a->memory, a->bytes);
	free(a);
}

int csvn_host_arena_map(int plane, int fd, uint64_t bytes)
{
	struct plane *p;
	struct host_arena *a = calloc(1, sizeof(*a));
	int rc = -ENOMEM;

	if (!a)
		return rc;
	a->bytes = bytes;
	a->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a->memory == MAP_FAILED) {
		rc = -errno;
		free(a);
		return rc;
	}
	(void)madvise(a->memory, bytes, MADV_DONTDUMP);
	p = plane_enter(plane);
	rc = p ? handle_add(&p->host_arenas, a) : -EBADF;
	if (rc < 0) {
		munmap(a->memory, bytes);
		free(a);
	} else {
		a->handle = rc;
	}
	if (p)
		plane_leave(p);
	return rc;
}

static bool is_inside(const struct host_arena *a, const void *page)
{
	return (const uint8_t *)page >= a->memory && (const uint8_t *)page < a->memory + a->bytes;
}

/* Is a host circuit in this arena? Its end's pages say so. */
static bool is_used(const struct plane *p, const struct host_arena *a)
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

int csvn_host_arena_unmap(int plane, int arena)
{
	struct plane *p = plane_enter(plane);
	struct host_arena *a;
	int rc = -EBADF;

	if (!p)
		return rc;
	a = handle_get(&p->host_arenas, arena);
	if (a) {
		rc = is_used(p, a) ? -EBUSY : 0;
		if (rc == 0)
			host_arena_destroy(p, a);
	}
	plane_leave(p);
	return rc;
}
