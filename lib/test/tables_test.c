/* SPDX-License-Identifier: MIT */
/* Handles, routes and the event queue against slow oracles: random operations, and after each the whole of it is compared. */
#include <errno.h>
#include <stdbool.h>

#include "check.h"
#include "event_queue.h"
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

#define SLOTS 300u

/* Due lists, with routes that go while they are due, and slots that are used again. */
static void test_routes(void)
{
	static uint32_t ids[SLOTS]; /* 0: no route in this slot */
	static bool due[SLOTS];
	struct route_table t = { 0 };
	uint32_t count = 0;

	memset(ids, 0, sizeof(ids));
	memset(due, 0, sizeof(due));
	for (uint32_t step = 0; step < 200000; step++) {
		uint32_t slot = test_below(SLOTS);
		uint32_t id = (1 + test_below(4095)) << ROUTE_SLOT_BITS | slot;
		struct route *r = ids[slot] ? route_find(&t, ids[slot]) : NULL;

		CHECK(!ids[slot] || (r && r->id == ids[slot]));
		switch (test_below(5)) {
		case 0:
		case 1:
			CHECK(route_set(&t, id, 5, id + 1) == (ids[slot] ? -EEXIST : 0));
			count += !ids[slot];
			ids[slot] = ids[slot] ? ids[slot] : id;
			break;
		case 2:
			if (r) {
				route_drop(&t, r);
				count--;
				CHECK(route_find(&t, ids[slot]) == NULL);
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

				CHECK(r->id == ids[next] && due[next]);
				due[next] = false;
			}
			for (uint32_t i = 0; i < SLOTS; i++) {
				CHECK(!due[i] || !ids[i]);
				due[i] = false;
			}
			break;
		}
		CHECK(route_find(&t, id ^ 1u << 31) == NULL || ids[slot] == (id ^ 1u << 31));
		CHECK(t.count == count);
	}
	CHECK(route_find(&t, ROUTE_SLOT_MASK) == NULL);
	route_table_free(&t);
}

/* Order, padding, whole events, and growth beyond the limit. */
static void test_events(void)
{
	struct event_queue q;
	uint8_t bytes[600], out[4096];
	uint32_t put = 0, taken = 0;
	uint64_t events = 0;

	CHECK(event_queue_init(&q, 1024) == 0);
	for (uint32_t step = 0; step < 100000; step++) {
		if (test_below(3)) {
			uint32_t a = test_below(sizeof(bytes)), b = test_below(100);
			bool room = event_queue_has_room(&q, a + b);

			CHECK(room == (q.used + ((a + b + 16 + 7) & ~7u) <= 1024));
			if (!room && test_below(50))
				continue;
			memset(bytes, (int)(put & 0xff), sizeof(bytes));
			CHECK(event_queue_put(&q, CSVN_EVENT_CONTROL, (int)put, a + b, (struct event_part){ bytes, a },
					      (struct event_part){ bytes, b }) == 0);
			put++;
		} else {
			uint32_t n = event_queue_take(&q, out, test_below(sizeof(out)), &events);

			CHECK(n % 8 == 0);
			for (uint32_t at = 0; at < n;) {
				struct csvn_event_header h;

				memcpy(&h, out + at, sizeof(h));
				CHECK(h.handle == (int)taken && h.length == 16 + h.aux && h.kind == CSVN_EVENT_CONTROL);
				for (uint32_t i = 16; i < h.length; i++)
					CHECK(out[at + i] == (uint8_t)taken);
				for (uint32_t i = h.length; i % 8; i++)
					CHECK(out[at + i] == 0);
				at += (h.length + 7) & ~7u;
				taken++;
			}
		}
	}
	CHECK(events == taken && taken > 1000 && put >= taken);
	event_queue_free(&q);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_handles();
	test_routes();
	test_events();
	return 0;
}
