/* SPDX-License-Identifier: MIT */
/*
 * Two ports with a board between them, in one process: a doorbell in the one wakes the other's circuit, and no other; whatever came before the route or comes after
 * it wakes nobody; places that are used again, a peer that is gone, and one that writes whatever it likes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peers.h"
#include "port_client.h"

#define QUEUE 64u
#define QUEUE_BYTES 16384u
#define AVAIL 4096u
#define USED 8192u
#define BUFFERS 65536u
#define BUFFER_BYTES 256u
#define GUEST (BUFFERS + 2 * QUEUE * BUFFER_BYTES)
#define BOARD 3 /* the number of the board, in both */
#define PLACES 200u
#define STEPS 20000u

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

struct vm {
	struct client client;
	uint8_t *memory;
	int kick; /* of the doorbell queue */
	uint16_t rung, buffers, woken; /* doorbells offered; buffers for wakes offered; used ones looked at */
};

static struct vm vms[2];

/* queue: 0 for doorbells, 1 for wakes. */
static uint16_t *word(struct vm *vm, uint32_t queue, uint32_t at)
{
	return (uint16_t *)(void *)(vm->memory + queue * QUEUE_BYTES + at);
}

static void offer(struct vm *vm, uint32_t queue, uint16_t *index, const uint32_t *ids, uint32_t count)
{
	uint32_t at = *index % QUEUE;
	uint64_t guest = BUFFERS + (queue * QUEUE + at) * BUFFER_BYTES;

	if (count)
		memcpy(vm->memory + guest, ids, count * sizeof(ids[0]));
	((struct desc *)(void *)(vm->memory + queue * QUEUE_BYTES))[at] =
		count ? (struct desc){ guest, count * (uint32_t)sizeof(ids[0]), 0, 0 } :
			(struct desc){ guest, BUFFER_BYTES, 2, 0 };
	*word(vm, queue, AVAIL + 4 + 2 * at) = (uint16_t)at;
	__atomic_store_n(word(vm, queue, AVAIL + 2), ++*index, __ATOMIC_RELEASE);
}

static void boot(struct vm *vm)
{
	struct csvn_region region = { .size = GUEST };

	memset(vm, 0, sizeof(*vm));
	client_open(&vm->client, -1);
	region.token = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(ftruncate(region.token, GUEST) == 0 && fcntl(region.token, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	vm->memory = mmap(NULL, GUEST, PROT_READ | PROT_WRITE, MAP_SHARED, region.token, 0);
	CHECK(vm->memory != MAP_FAILED);
	CHECK(client_ask(&vm->client, CSVN_COMMAND_MEMORY, 0, 0, &region, sizeof(region)) == 0);
	client_command(&vm->client, CSVN_COMMAND_TOKEN_CLOSE, region.token, 0, NULL, 0);
	vm->kick = eventfd(0, EFD_CLOEXEC);
	for (uint32_t q = 0; q < 2; q++) {
		struct csvn_queue_setup s = { .index = CSVN_QUEUE_DOORBELL + q,
					      .size = QUEUE,
					      .desc = q * QUEUE_BYTES,
					      .avail = q * QUEUE_BYTES + AVAIL,
					      .used = q * QUEUE_BYTES + USED,
					      .kick = q ? eventfd(0, EFD_CLOEXEC) : fcntl(vm->kick, F_DUPFD_CLOEXEC, 0),
					      .call = -1 };

		CHECK(client_ask(&vm->client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s)) == 0);
	}
	/* Buffers for wakes, of which there are always enough. */
	for (uint32_t i = 0; i < QUEUE; i++)
		offer(vm, 1, &vm->buffers, NULL, 0);
}

static void shut(struct vm *vm)
{
	client_close(&vm->client);
	munmap(vm->memory, GUEST);
	close(vm->kick);
}

/* The files of a board, given to both as the brain does. */
static void give_board(int number, void **memory)
{
	int fd = memfd_create("board", MFD_CLOEXEC), bells[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };

	CHECK(fd >= 0 && ftruncate(fd, (off_t)PEER_BYTES) == 0);
	for (uint32_t side = 0; side < 2; side++) {
		struct client *c = &vms[side].client;
		struct csvn_board b = { .memory = client_give(c, fd), .side = side };

		b.own_bell = client_give(c, bells[side]);
		b.bell = client_give(c, bells[!side]);
		CHECK(client_ask(c, CSVN_COMMAND_BOARD, number, 0, &b, sizeof(b)) == 0);
	}
	if (memory) {
		*memory = mmap(NULL, PEER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(*memory != MAP_FAILED);
	}
	close(fd);
	close(bells[0]);
	close(bells[1]);
}

static void route(struct vm *vm, uint32_t id, uint32_t mark, uint32_t own_mark)
{
	struct csvn_route r = { .id = id, .board = BOARD, .mark = mark, .own_mark = own_mark };

	client_command(&vm->client, CSVN_COMMAND_ROUTE, 0, 0, &r, sizeof(r));
}

static void unroute(struct vm *vm, uint32_t id)
{
	client_command(&vm->client, CSVN_COMMAND_UNROUTE, 0, id, NULL, 0);
}

static void ring(struct vm *vm, const uint32_t *ids, uint32_t count)
{
	offer(vm, 0, &vm->rung, ids, count);
	CHECK(eventfd_write(vm->kick, 1) == 0);
	client_turn(&vm->client);
}

static uint32_t woken[4096]; /* what a guest was woken for */

/* How many. */
static uint32_t wakes(struct vm *vm)
{
	uint32_t count = 0;

	for (int i = 0; i < 3; i++)
		client_turn(&vm->client);
	while (vm->woken != __atomic_load_n(word(vm, 1, USED + 2), __ATOMIC_ACQUIRE)) {
		const uint32_t *used = (const uint32_t *)(const void *)(vm->memory + QUEUE_BYTES + USED + 4) +
				       2 * (vm->woken++ % QUEUE);
		uint32_t ids = used[1] / (uint32_t)sizeof(woken[0]);

		CHECK(used[1] % sizeof(woken[0]) == 0 && ids > 0 && ids <= 64 && count + ids <= 4096);
		memcpy(woken + count, vm->memory + BUFFERS + (QUEUE + used[0]) * BUFFER_BYTES, used[1]);
		count += ids;
		offer(vm, 1, &vm->buffers, NULL, 0);
	}
	return count;
}

/* As a port does that has looked in vain: from now on it is rung. */
static void sleeps(struct vm *vm)
{
	struct epoll_event e;

	CHECK(!busy_poll_end(&vm->client.port));
	/* And it is: nothing is there for it. */
	CHECK(epoll_wait(vm->client.port.epoll, &e, 1, 0) == 0);
}

static bool is_rung(struct vm *vm)
{
	struct epoll_event e;

	return epoll_wait(vm->client.port.epoll, &e, 1, 0) == 1;
}

/* It has woken; what epoll told above is told once, so that it looks for itself. */
static void wake_up(struct vm *vm)
{
	struct port *p = &vm->client.port;
	struct peer *peer;

	queue_awake(&p->link.commands);
	p->polls = true;
	handle_for_each(&p->peers.table, i, peer)
		peer_rung(p, peer);
}

static void quiet(void)
{
	CHECK(wakes(&vms[0]) == 0 && wakes(&vms[1]) == 0);
}

static void test_one(void)
{
	struct vm *a = &vms[0], *b = &vms[1];

	route(a, 10, 7, 5);
	route(b, 20, 5, 7);
	for (int round = 0; round < 100; round++) {
		struct vm *from = round % 2 ? b : a, *to = round % 2 ? a : b;
		uint32_t id = round % 2 ? 20 : 10, other = round % 2 ? 10 : 20, many[64];
		bool asleep = test_below(2);

		for (uint32_t i = 0; i < 64; i++)
			many[i] = id;
		if (asleep)
			sleeps(to);
		ring(from, many, 1 + test_below(64));
		/* It is signalled if it sleeps, and then only. */
		if (asleep) {
			CHECK(is_rung(to));
			wake_up(to);
		} else {
			struct peer *peer = handle_get(&to->client.port.peers.table, BOARD);

			CHECK(peer->polled && peer->wakes.shared->listening == 0);
		}
		CHECK(wakes(to) == 1 && woken[0] == other);
		quiet();
	}
	unroute(a, 10);
	unroute(b, 20);
}

/* Before there is a route at the other end, and when there is none any more, or another. */
static void test_order(void)
{
	struct vm *a = &vms[0], *b = &vms[1];
	const uint32_t id = 10;

	/* Marked before the place is anybody's: it wakes nobody, and does not stand in the way of what comes then. */
	route(a, id, 7, 5);
	ring(a, &id, 1);
	quiet();
	route(b, 20, 5, 7);
	quiet();
	ring(a, &id, 1);
	CHECK(wakes(b) == 1 && woken[0] == 20);
	/* The other end goes first. */
	unroute(b, 20);
	ring(a, &id, 1);
	quiet();
	/* Marked, and the route goes before that is looked at. */
	route(b, 20, 5, 7);
	ring(a, &id, 1);
	client_put(&b->client, CSVN_COMMAND_UNROUTE, 0, 20, NULL, 0);
	client_turn(&b->client);
	quiet();
	/* The place is another circuit's now: whoever has marked it before wakes that one in vain, and what is marked then wakes it. */
	route(b, 21, 5, 7);
	ring(a, &id, 1);
	CHECK(wakes(b) == 1 && woken[0] == 21);
	unroute(b, 21);
	/* A new circuit in the slot of one that is gone, by another place. */
	route(b, 20, 5, 7);
	route(b, 20 | 1u << 20, 5, 9);
	ring(a, &id, 1);
	quiet();
	unroute(a, id);
	route(a, id, 9, 5);
	ring(a, &id, 1);
	CHECK(wakes(b) == 1 && woken[0] == (20 | 1u << 20));
	unroute(a, id);
	ring(a, &id, 1);
	quiet();
	CHECK(a->client.port.counters.strays == 1);
	unroute(b, 20 | 1u << 20);
	/* No such board, no such circuit. */
	client_command(&a->client, CSVN_COMMAND_ROUTE, 0, 0, &(struct csvn_route){ .id = 77, .board = BOARD + 1 },
		       sizeof(struct csvn_route));
	ring(a, &(uint32_t){ 77 }, 1);
	CHECK(a->client.port.counters.strays == 2);
	unroute(a, 77);
}

/* Places that come and go at random: a doorbell wakes the circuit that has the place now, once, and nobody else. */
static void test_places(void)
{
	static uint32_t at[2][PLACES]; /* the circuit whose place it is, at either end; 0: none */
	static bool due[2][1u << 16];
	uint32_t next = 1, rung = 0;

	memset(at, 0, sizeof(at));
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t place = test_below(PLACES), side = test_below(2), other = !side, count = 0, came;
		uint32_t ids[8];

		switch (test_below(4)) {
		case 0:
			if (at[0][place]) {
				/* In either order. */
				unroute(&vms[side], at[side][place]);
				unroute(&vms[other], at[other][place]);
				at[0][place] = at[1][place] = 0;
			} else if (next + 1 < 1u << 16) {
				/* Own place p at either end, the same number for both. */
				at[0][place] = next++;
				at[1][place] = next++;
				route(&vms[side], at[side][place], place, place);
				route(&vms[other], at[other][place], place, place);
			}
			break;
		default:
			for (uint32_t i = 0; i < 8; i++) {
				place = test_below(PLACES);
				if (!at[side][place])
					continue;
				ids[count++] = at[side][place];
				due[other][at[other][place]] = true;
			}
			if (!count)
				break;
			ring(&vms[side], ids, count);
			came = wakes(&vms[other]);
			for (uint32_t i = 0; i < came; i++) {
				CHECK(due[other][woken[i]]);
				due[other][woken[i]] = false;
				rung++;
			}
			for (uint32_t i = 0; i < PLACES; i++)
				CHECK(!due[other][at[other][i]]);
			CHECK(wakes(&vms[side]) == 0);
			break;
		}
	}
	CHECK(rung > STEPS / 4);
	for (uint32_t i = 0; i < PLACES; i++)
		for (uint32_t side = 0; side < 2; side++)
			if (at[side][i])
				unroute(&vms[side], at[side][i]);
	CHECK(vms[0].client.port.device.routes.count == 0 && vms[1].client.port.device.routes.count == 0);
}

/* What a peer writes into the memory that both have wakes at most whom it may wake, and does not keep the other from its work. */
static void test_hostile(void *memory)
{
	struct board_shared *board = memory; /* that the first marks: the second's wakes */
	struct vm *b = &vms[1];

	for (uint32_t i = 0; i < PLACES; i++)
		route(b, 100 + i, 0, i * 5000);
	for (int round = 0; round < 300; round++) {
		uint32_t came;

		switch (test_below(3)) {
		case 0:
			for (uint32_t i = 0; i < 1000; i++)
				((uint64_t *)memory)[test_below(sizeof(*board) / 8)] = test_random();
			break;
		case 1:
			memset(board->tops, 0xff, sizeof(board->tops));
			memset(board->groups, 0xff, sizeof(board->groups));
			if (round % 10 == 0)
				memset(board->marks, 0xff, sizeof(board->marks));
			break;
		default:
			board->listening = (uint32_t)test_random();
			break;
		}
		wake_up(b);
		for (int i = 0; i < 50; i++) {
			client_put(&b->client, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0);
			client_turn(&b->client);
			CHECK(b->client.port.done == b->client.given);
		}
		came = wakes(b);
		for (uint32_t i = 0; i < came; i++)
			CHECK(woken[i] >= 100 && woken[i] < 100 + PLACES);
	}
	/* And when it is honest again, or another has its place, it works. */
	for (int i = 0; i < 2000; i++)
		client_turn(&b->client);
	(void)wakes(b);
	memset(memory, 0, sizeof(*board));
	client_settle(&b->client);
	(void)wakes(b);
	for (uint32_t i = 0; i < PLACES; i++)
		unroute(b, 100 + i);
}

/* The other port is gone: to ring for it is in vain, and no harm; and so is what is left of it here, until the brain says so. */
static void test_gone(void)
{
	struct vm *a = &vms[0];
	const uint32_t ids[2] = { 10, 11 };

	route(a, ids[0], 7, 5);
	route(a, ids[1], 8, 6);
	sleeps(&vms[1]);
	shut(&vms[1]);
	for (int i = 0; i < 100; i++)
		ring(a, ids, 2);
	CHECK(wakes(a) == 0);
	/* The board goes with routes that lead to it, or after these: they wake nobody. */
	unroute(a, ids[1]);
	client_command(&a->client, CSVN_COMMAND_UNBOARD, BOARD, 0, NULL, 0);
	ring(a, ids, 2);
	CHECK(wakes(a) == 0 && a->client.port.peers.table.count == 0);
	/* Another in its place, and a number that is used again. */
	boot(&vms[1]);
	give_board(BOARD, NULL);
	unroute(a, ids[0]);
	route(a, ids[0], 1, 2);
	route(&vms[1], 20, 2, 1);
	ring(a, ids, 1);
	CHECK(wakes(&vms[1]) == 1 && woken[0] == 20);
	ring(&vms[1], &(uint32_t){ 20 }, 1);
	CHECK(wakes(a) == 1 && woken[0] == ids[0]);
}

/* More peers than are looked at: each wakes all the same, asleep or not. */
static void test_many(void)
{
	struct vm *a = &vms[0], *b = &vms[1];

	for (uint32_t i = 0; i < 3 * PEERS_POLLED; i++) {
		struct csvn_route there = { .id = 1000 + i, .board = BOARD + 1 + (int)i, .mark = i, .own_mark = 2 * i };
		struct csvn_route here = { .id = 2000 + i, .board = BOARD + 1 + (int)i, .mark = 2 * i, .own_mark = i };

		give_board(there.board, NULL);
		client_command(&a->client, CSVN_COMMAND_ROUTE, 0, 0, &there, sizeof(there));
		client_command(&b->client, CSVN_COMMAND_ROUTE, 0, 0, &here, sizeof(here));
	}
	for (int round = 0; round < 200; round++) {
		uint32_t ids[64], count = 0, came;
		static bool due[3 * PEERS_POLLED];

		/* All that sleep are rung; the port's turn finds them by its epoll set. */
		if (test_below(2) && !busy_poll_end(&b->client.port)) {
			queue_awake(&b->client.port.link.commands);
			b->client.port.polls = true;
		}
		for (uint32_t i = 0; i < 3 * PEERS_POLLED; i++) {
			due[i] = test_below(2);
			if (due[i])
				ids[count++] = 1000 + i;
		}
		if (!count)
			continue;
		ring(a, ids, count);
		came = wakes(b);
		CHECK(came == count);
		for (uint32_t i = 0; i < came; i++) {
			CHECK(woken[i] >= 2000 && due[woken[i] - 2000]);
			due[woken[i] - 2000] = false;
		}
		CHECK(b->client.port.peers.polled_count <= PEERS_POLLED);
	}
}

int main(int argc, char **argv)
{
	void *memory;

	test_seed(argc, argv);
	boot(&vms[0]);
	boot(&vms[1]);
	/* Files that are not there make no board. */
	CHECK(client_ask(&vms[0].client, CSVN_COMMAND_BOARD, BOARD, 0, &(struct csvn_board){ 900, 901, 902, 0 },
			 sizeof(struct csvn_board)) == -EBADF);
	give_board(BOARD, &memory);
	test_one();
	test_order();
	test_places();
	test_hostile(memory);
	test_gone();
	test_many();
	shut(&vms[0]);
	shut(&vms[1]);
	munmap(memory, PEER_BYTES);
	return 0;
}
