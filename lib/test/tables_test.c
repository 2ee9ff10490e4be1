/* SPDX-License-Identifier: MIT */
/* Handles, numbers, routes and the backlog of events against slow oracles: random operations, and after each the whole of it is compared. */
#include <errno.h>
#include <stdbool.h>

#include "backlog.h"
#include "check.h"
#include "handle.h"
#include "route.h"

#define OBJECTS 40u
#define STALE 64u

static void test_handles(void)
{
	int live[OBJECTS], stale[STALE], objects[OBJECTS];
	uint32_t count = 0, stales = 0, refused = 0;
	struct handle_table t;

	handle_table_init(&t, OBJECTS);
	for (uint32_t step = 0; step < 100000; step++) {
		if (test_below(2)) {
			int handle = handle_add(&t, &objects[count % OBJECTS]);

			CHECK(handle >= 0 ? count < OBJECTS : handle == -ENFILE && count == OBJECTS);
			refused += handle < 0;
			for (uint32_t i = 0; handle >= 0 && i < count; i++)
				CHECK(live[i] != handle);
			for (uint32_t i = 0; handle >= 0 && i < (stales < STALE ? stales : STALE); i++)
				CHECK(stale[i] != handle);
			if (handle >= 0)
				live[count++] = handle;
		} else if (count) {
			uint32_t which = test_below(count);

			CHECK(handle_remove(&t, live[which]) != NULL);
			CHECK(handle_get(&t, live[which]) == NULL && handle_remove(&t, live[which]) == NULL);
			stale[stales++ % STALE] = live[which];
			live[which] = live[--count];
		}
		CHECK(t.count == count);
		for (uint32_t i = 0; i < count; i++)
			CHECK(handle_get(&t, live[i]) != NULL);
		for (uint32_t i = 0; i < (stales < STALE ? stales : STALE); i++)
			CHECK(handle_get(&t, stale[i]) == NULL);
		CHECK(handle_get(&t, -1 - (int)test_below(1000)) == NULL);
		CHECK(handle_get(&t, (int)(OBJECTS + test_below(HANDLE_INDEX_MASK - OBJECTS))) == NULL);
	}
	CHECK(refused > 100);
	handle_table_free(&t);
}

#define NUMBERS 300u

/* Numbers that somebody else chooses: an object is had by its own, until it is removed, and no number is too wild to be refused. */
static void test_numbers(void)
{
	static bool there[NUMBERS];
	static int objects[NUMBERS];
	struct handle_table t;
	uint32_t count = 0;

	memset(there, 0, sizeof(there));
	handle_table_init(&t, NUMBERS);
	for (uint32_t step = 0; step < 100000; step++) {
		uint32_t n = test_below(NUMBERS);
		int wild = test_below(2) ? -1 - (int)test_below(1u << 30) : (int)(NUMBERS + test_below(1u << 30));

		if (test_below(2)) {
			CHECK(handle_put(&t, (int)n, &objects[n]) == (there[n] ? -EEXIST : 0));
			count += !there[n];
			there[n] = true;
		} else {
			CHECK(handle_remove(&t, (int)n) == (there[n] ? &objects[n] : NULL));
			count -= there[n];
			there[n] = false;
		}
		CHECK(t.count == count);
		CHECK(handle_put(&t, wild, &objects[n]) == -ENFILE && handle_get(&t, wild) == NULL &&
		      handle_remove(&t, wild) == NULL);
		n = test_below(NUMBERS);
		CHECK(handle_get(&t, (int)n) == (there[n] ? &objects[n] : NULL));
	}
	handle_table_free(&t);
}

#define SLOTS 300u

/* Due lists, with routes that are replaced, or go while they are due, and slots that are used again. */
static void test_routes(void)
{
	static uint32_t ids[SLOTS]; /* 0: no route in this slot */
	static bool due[SLOTS], was[SLOTS]; /* due: the one that is there; was: another that had the slot */
	struct route_table t = { 0 };
	uint32_t count = 0;

	memset(ids, 0, sizeof(ids));
	memset(due, 0, sizeof(due));
	memset(was, 0, sizeof(was));
	for (uint32_t step = 0; step < 200000; step++) {
		uint32_t slot = test_below(SLOTS);
		uint32_t id = (1 + test_below(4095)) << ROUTE_SLOT_BITS | slot;
		struct route *r = ids[slot] ? route_find(&t, ids[slot]) : NULL;

		CHECK(!ids[slot] || (r && r->id == ids[slot]));
		switch (test_below(5)) {
		case 0:
		case 1:
			route_set(&t, id, 5, id + 1, id + 2);
			r = route_find(&t, id);
			CHECK(r && r->id == id && r->to == 5 && r->place == id + 1 && r->own_place == id + 2);
			count += !ids[slot];
			was[slot] |= due[slot] && ids[slot] != id;
			due[slot] = due[slot] && ids[slot] == id;
			ids[slot] = id;
			break;
		case 2:
			if (r) {
				route_drop(&t, r);
				count--;
				CHECK(route_find(&t, ids[slot]) == NULL);
				was[slot] |= due[slot];
				due[slot] = false;
				ids[slot] = 0;
			}
			break;
		case 3:
			if (r) {
				route_list(&t, ROUTES_DUE, r);
				due[slot] = true;
			}
			break;
		default:
			if (test_below(50))
				break;
			/* Everything that is due comes once; beyond that only what took the slot of one that was due. */
			while ((r = route_next(&t, ROUTES_DUE))) {
				uint32_t next = r->id & ROUTE_SLOT_MASK;

				CHECK(r->id == ids[next] && (due[next] || was[next]));
				due[next] = was[next] = false;
			}
			for (uint32_t i = 0; i < SLOTS; i++) {
				CHECK(!due[i]);
				was[i] = false;
			}
			break;
		}
		CHECK(route_find(&t, id ^ 1u << 31) == NULL || ids[slot] == (id ^ 1u << 31));
		CHECK(t.count == count);
	}
	CHECK(route_find(&t, ROUTE_SLOT_MASK) == NULL);
	route_table_free(&t);
}

#define QUEUE 1024u

/* Order and whole records, whatever the queue that it is moved to has room for. */
static void test_backlog(void)
{
	static _Alignas(64) uint8_t memory[sizeof(struct queue_shared) + QUEUE];
	struct backlog b = { .bytes = NULL };
	uint8_t bytes[400], out[QUEUE];
	uint32_t put = 0, taken = 0;
	struct queue to, from;

	memset(memory, 0, sizeof(memory));
	CHECK(queue_init(&to, memory, QUEUE, true) == 0 && queue_init(&from, memory, QUEUE, false) == 0);
	for (uint32_t step = 0; step < 100000; step++) {
		switch (test_below(step % 1000 < 500 ? 3 : 5)) {
		case 0:
		case 1: {
			uint32_t head[2] = { put, test_below(sizeof(bytes)) };
			struct queue_part parts[3] = { { head, sizeof(head) }, { NULL, 0 }, { bytes, head[1] } };

			memset(bytes, (int)(put++ & 0xff), sizeof(bytes));
			backlog_put(&b, parts, 3);
			CHECK(!backlog_is_empty(&b));
			break;
		}
		case 2:
			CHECK(backlog_flush(&b, &to) == 0);
			break;
		default: {
			int n = queue_next(&from, out, sizeof(out));
			uint32_t head[2];

			if (n == 0)
				break;
			memcpy(head, out + QUEUE_HEADER, sizeof(head));
			CHECK(head[0] == taken && (uint32_t)n == QUEUE_HEADER + sizeof(head) + head[1]);
			for (uint32_t i = 0; i < head[1]; i++)
				CHECK(out[QUEUE_HEADER + sizeof(head) + i] == (uint8_t)taken);
			taken++;
		}
		}
	}
	CHECK(taken > 1000 && put >= taken && b.used < 1u << 30);
	/* A consumer that lies gets nothing more. */
	((struct queue_shared *)(void *)memory)->consumed += 4;
	backlog_put(&b, &(struct queue_part){ bytes, sizeof(bytes) }, 1);
	while (to.size - (to.own - to.other) >= queue_record(sizeof(bytes)))
		CHECK(queue_put(&to, &(struct queue_part){ bytes, sizeof(bytes) }, 1) == 0);
	CHECK(backlog_flush(&b, &to) == -EPROTO);
	backlog_free(&b);
	CHECK(backlog_is_empty(&b));
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_handles();
	test_numbers();
	test_routes();
	test_backlog();
	return 0;
}
