/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"
#include "watch.h"

#define TAKEN 64u /* marks at a time */
#define TAKES_A_TURN 64u
#define FIRST_CAPACITY 64u

void peers_init(struct peers *p)
{
	memset(p, 0, sizeof(*p));
	handle_table_init(&p->table, PEERS_MAX);
}

/* Is something marked that was not taken? */
static bool board_has(const struct board *b)
{
	uint64_t any = b->top | b->group | b->mark;

	for (uint32_t i = 0; i < BOARD_TOPS; i++)
		any |= __atomic_load_n(&b->shared->tops[i], __ATOMIC_ACQUIRE);
	return any != 0;
}

static void destroy(struct port *p, struct peer *peer)
{
	watch_drop(p, &peer->watch);
	if (peer->memory)
		munmap(peer->memory, PEER_BYTES);
	if (peer->bell >= 0)
		close(peer->bell);
	if (peer->own_bell >= 0)
		close(peer->own_bell);
	free(peer->ids);
	free(peer);
}

void peers_end(struct port *p)
{
	struct peer *peer;

	handle_for_each(&p->peers.table, i, peer)
		destroy(p, peer);
	handle_table_free(&p->peers.table);
	peers_init(&p->peers);
}

int peer_add(struct port *p, int handle, const struct csvn_board *b)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int memory = file_take(p, b->memory), rc;

	if (!peer)
		abort();
	peer->handle = handle;
	peer->bell = file_take(p, b->bell);
	peer->own_bell = file_take(p, b->own_bell);
	watch_init(&peer->watch, WATCHED_PEER, handle, 0);
	peer->memory = memory < 0 ? MAP_FAILED :
				    mmap(NULL, PEER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	rc = peer->memory == MAP_FAILED ? -EBADF : 0;
	if (memory >= 0)
		close(memory);
	if (rc < 0) {
		peer->memory = NULL;
	} else {
		board_init(&peer->marks, (struct board_shared *)peer->memory + (b->side & 1));
		board_init(&peer->wakes, (struct board_shared *)peer->memory + (~b->side & 1));
		rc = peer->bell < 0 || peer->own_bell < 0 ? -EBADF :
							    handle_put(&p->peers.table, handle, peer);
	}
	/* It is not read: each ring is told once. */
	if (rc == 0)
		rc = watch_for(p, &peer->watch, peer->own_bell, EPOLLIN | EPOLLET);
	if (rc < 0) {
		if (handle_get(&p->peers.table, handle) == peer)
			(void)handle_remove(&p->peers.table, handle);
		destroy(p, peer);
		return rc;
	}
	peer_rung(p, peer);
	return 0;
}

void peer_remove(struct port *p, int handle)
{
	struct peer *peer = handle_remove(&p->peers.table, handle);

	if (peer)
		destroy(p, peer);
}

void peer_place(struct peer *peer, uint32_t mark, uint32_t id)
{
	if (mark >= BOARD_INDICES)
		return;
	if (mark >= peer->capacity) {
		uint32_t capacity = peer->capacity ? peer->capacity : FIRST_CAPACITY;
		uint64_t *ids;

		while (capacity <= mark)
			capacity *= 2;
		ids = realloc(peer->ids, capacity * sizeof(*ids));
		if (!ids)
			abort();
		memset(ids + peer->capacity, 0, (capacity - peer->capacity) * sizeof(*ids));
		peer->ids = ids;
		peer->capacity = capacity;
	}
	peer->ids[mark] = (uint64_t)id + 1;
}

void peer_unplace(struct peer *peer, uint32_t mark)
{
	if (mark < peer->capacity)
		peer->ids[mark] = 0;
}

static void ring_all(struct port *p)
{
	for (uint32_t i = 0; i < p->peers.ringing_count; i++) {
		struct peer *peer = handle_get(&p->peers.table, p->peers.ringing[i]);

		if (!peer)
			continue;
		peer->rings = false;
		(void)interrupter_signal(&p->interrupter, peer->bell);
	}
	p->peers.ringing_count = 0;
}

void peer_mark(struct port *p, struct peer *peer, uint32_t mark)
{
	if (mark >= BOARD_INDICES || !board_mark(&peer->marks, mark) || peer->rings)
		return;
	if (p->peers.ringing_count == PEERS_POLLED)
		ring_all(p);
	peer->rings = true;
	p->peers.ringing[p->peers.ringing_count++] = peer->handle;
}

void peers_ring(struct port *p)
{
	if (p->peers.ringing_count)
		ring_all(p);
}

/* Wake whom it has marked. True: there may be more. */
static bool take(struct port *p, struct peer *peer)
{
	uint32_t marks[TAKEN], count;

	for (uint32_t turns = 0; turns < TAKES_A_TURN; turns++) {
		count = board_take(&peer->wakes, marks, TAKEN);
		for (uint32_t i = 0; i < count; i++) {
			uint64_t id = marks[i] < peer->capacity ? peer->ids[marks[i]] : 0;
			struct route *r = id ? route_find(&p->device.routes, (uint32_t)(id - 1)) : NULL;

			if (r)
				route_list(&p->device.routes, ROUTES_DUE, r);
		}
		if (count < TAKEN)
			return false;
	}
	return true;
}

static void unlist(struct port *p, uint32_t i)
{
	struct peer *peer = handle_get(&p->peers.table, p->peers.polled[i]);

	if (peer)
		peer->polled = false;
	p->peers.polled[i] = p->peers.polled[--p->peers.polled_count];
}

void peer_rung(struct port *p, struct peer *peer)
{
	bool more = take(p, peer);

	if (peer->polled)
		return;
	if (p->peers.polled_count < PEERS_POLLED) {
		peer->polled = true;
		p->peers.polled[p->peers.polled_count++] = peer->handle;
		return;
	}
	/* A bounded number is looked at: this one rings, and what it has marked meanwhile is its next turn. */
	if (more || !board_listen(&peer->wakes))
		(void)interrupter_signal(&p->interrupter, peer->own_bell);
}

bool peers_due(const struct port *p)
{
	for (uint32_t i = 0; i < p->peers.polled_count; i++) {
		struct peer *peer = handle_get(&p->peers.table, p->peers.polled[i]);

		if (peer && board_has(&peer->wakes))
			return true;
	}
	return false;
}

void peers_turn(struct port *p)
{
	for (uint32_t i = 0; i < p->peers.polled_count;) {
		struct peer *peer = handle_get(&p->peers.table, p->peers.polled[i]);

		if (!peer) {
			unlist(p, i);
			continue;
		}
		if (board_has(&peer->wakes))
			(void)take(p, peer);
		i++;
	}
}

bool peers_rest(struct port *p)
{
	for (uint32_t i = 0; i < p->peers.polled_count;) {
		struct peer *peer = handle_get(&p->peers.table, p->peers.polled[i]);

		if (peer && !board_listen(&peer->wakes))
			return true;
		unlist(p, i);
	}
	return false;
}
