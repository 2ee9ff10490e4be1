/* SPDX-License-Identifier: MIT */
/*
 * Units of ring.h: what an honest peer gets, and that no lie in a peer's control page yields room or bytes beyond the ring, or
 * a cursor that moves backwards.
 */
#include <stdbool.h>

#include "check.h"
#include "csvn/ring.h"

#define SIZE 64u

static struct csvn_control own, peer;
static __u8 tx[SIZE], rx[SIZE];

static struct csvn_end begin(void)
{
	struct csvn_end e;

	memset(&own, 0, sizeof(own));
	memset(&peer, 0, sizeof(peer));
	csvn_end_init(&e, &own, &peer, tx, rx, SIZE);
	return e;
}

static void test_honest(void)
{
	struct csvn_end e = begin();
	uint32_t n;

	CHECK(csvn_tx_room(&e, 1, &n) == 0 && n == SIZE);
	csvn_tx_publish(&e, SIZE);
	CHECK(own.tail == SIZE);
	CHECK(csvn_tx_room(&e, 1, &n) == 0 && n == 0);
	peer.head = 10;
	CHECK(csvn_tx_room(&e, 1, &n) == 0 && n == 10);
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == 0);
	peer.tail = SIZE;
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == SIZE);
	csvn_rx_release(&e, SIZE);
	CHECK(own.head == SIZE);
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == 0);
}

/* The peer is looked at only when what is known is not enough. */
static void test_want(void)
{
	struct csvn_end e = begin();
	uint32_t n;

	peer.tail = 10;
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == 10);
	peer.tail = 20;
	CHECK(csvn_rx_ready(&e, 10, &n) == 0 && n == 10);
	CHECK(csvn_rx_ready(&e, 11, &n) == 0 && n == 20);
	csvn_tx_publish(&e, 40);
	peer.head = 30;
	CHECK(csvn_tx_room(&e, SIZE - 40, &n) == 0 && n == SIZE - 40);
	CHECK(csvn_tx_room(&e, SIZE - 39, &n) == 0 && n == SIZE - 10);
}

static void test_lies(void)
{
	struct csvn_end e = begin();
	uint32_t n = 7;

	csvn_tx_publish(&e, SIZE);
	peer.head = SIZE + 1;
	CHECK(csvn_tx_room(&e, 1, &n) == -EPROTO && n == 7);
	peer.head = UINT64_MAX;
	CHECK(csvn_tx_room(&e, 1, &n) == -EPROTO && n == 7);
	peer.head = 5;
	CHECK(csvn_tx_room(&e, 1, &n) == 0 && n == 5);
	peer.head = 4; /* backwards */
	CHECK(csvn_tx_room(&e, 6, &n) == -EPROTO && n == 5);

	peer.tail = SIZE + 1;
	CHECK(csvn_rx_ready(&e, 1, &n) == -EPROTO);
	peer.tail = UINT64_MAX;
	CHECK(csvn_rx_ready(&e, 1, &n) == -EPROTO);
	peer.tail = 20;
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == 20);
	peer.tail = 19; /* backwards */
	CHECK(csvn_rx_ready(&e, 21, &n) == -EPROTO);
	peer.tail = 20;
	csvn_rx_release(&e, 20);
	peer.tail = 19; /* before what was consumed */
	CHECK(csvn_rx_ready(&e, 1, &n) == -EPROTO);
	CHECK(e.peer_tail == 20 && e.peer_head == 5);
}

static void test_wants_rx(void)
{
	struct csvn_end e = begin();

	CHECK(!csvn_wants_rx(&e));
	peer.sleep_rx = 1;
	CHECK(csvn_wants_rx(&e));
	CHECK(!csvn_wants_rx(&e)); /* once per sequence */
	peer.sleep_rx = UINT32_MAX;
	CHECK(csvn_wants_rx(&e));
	peer.sleep_rx = 0; /* sequences wrap */
	CHECK(csvn_wants_rx(&e));
}

static void test_wants_tx(void)
{
	struct csvn_end e = begin();
	uint32_t n;

	peer.sleep_tx = 1;
	peer.tail = SIZE;
	CHECK(csvn_rx_ready(&e, 1, &n) == 0 && n == SIZE);
	csvn_rx_release(&e, SIZE / 2 - 1);
	CHECK(!csvn_wants_tx(&e)); /* one byte short of half */
	csvn_rx_release(&e, 1);
	CHECK(csvn_wants_tx(&e));
	CHECK(!csvn_wants_tx(&e));
	/* A peer that wrote on after it armed is not woken before half is free by its true tail. */
	peer.sleep_tx = 2;
	peer.tail = SIZE + SIZE / 2;
	CHECK(!csvn_wants_tx(&e));
	CHECK(csvn_rx_ready(&e, SIZE, &n) == 0 && n == SIZE);
	csvn_rx_release(&e, SIZE / 2);
	CHECK(csvn_wants_tx(&e));
}

static void test_arm_and_state(void)
{
	struct csvn_end e = begin();

	csvn_arm_rx(&e);
	csvn_arm_rx(&e);
	csvn_arm_tx(&e);
	CHECK(own.sleep_rx == 2 && own.sleep_tx == 1);
	own.sleep_rx = 77; /* what is shared is never read back */
	csvn_arm_rx(&e);
	CHECK(own.sleep_rx == 3);
	peer.state = ~0u;
	CHECK(csvn_peer_state(&e) == CSVN_STATE_ALL);
	csvn_set_state(&e, CSVN_STATE_FIN);
	CHECK(own.state == CSVN_STATE_FIN);
}

static uint64_t lie(uint64_t truth)
{
	switch (test_below(6)) {
	case 0:
		return test_random();
	case 1:
		return truth - 1 - test_below(3 * SIZE);
	case 2:
		return truth + 1 + test_below(3 * SIZE);
	case 3:
		return truth ^ 1ull << test_below(64);
	case 4:
		return UINT64_MAX - test_below(SIZE);
	default:
		return truth + test_below(SIZE);
	}
}

/* Random steps and lies: whatever is answered, it is within the ring and never backwards. */
static void test_random_lies(void)
{
	uint32_t refused = 0, taken = 0;

	for (uint32_t round = 0; round < 2000; round++) {
		struct csvn_end e = begin();

		e.tail = e.peer_head = own.tail = peer.head = test_below(2) ? 0 : UINT64_MAX - test_below(200);
		e.head = e.peer_tail = own.head = peer.tail = test_below(2) ? 0 : UINT64_MAX - test_below(200);
		for (uint32_t step = 0; step < 200; step++) {
			uint32_t want = 1 + test_below(SIZE), n = 0;
			uint64_t head = e.peer_head, tail = e.peer_tail;
			int rc;

			peer.head = lie(test_below(2) ? e.peer_head : e.tail);
			peer.tail = lie(test_below(2) ? e.peer_tail : e.head);
			peer.sleep_tx = (uint32_t)test_random();
			rc = csvn_tx_room(&e, want, &n);
			CHECK(rc == 0 || rc == -EPROTO);
			CHECK(n <= SIZE && e.peer_head - head <= SIZE && e.tail - e.peer_head <= SIZE);
			if (rc == 0) {
				CHECK(n == SIZE - (uint32_t)(e.tail - e.peer_head));
				csvn_tx_publish(&e, n ? test_below(n + 1) : 0);
			}
			refused += rc < 0;
			n = 0;
			rc = csvn_rx_ready(&e, want, &n);
			CHECK(rc == 0 || rc == -EPROTO);
			CHECK(n <= SIZE && e.peer_tail - tail <= SIZE && e.peer_tail - e.head <= SIZE);
			if (rc == 0) {
				CHECK(n == (uint32_t)(e.peer_tail - e.head));
				csvn_rx_release(&e, n ? test_below(n + 1) : 0);
				(void)csvn_wants_tx(&e);
			}
			refused += rc < 0;
			taken += rc == 0;
		}
	}
	CHECK(refused > 1000 && taken > 1000);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_honest();
	test_want();
	test_lies();
	test_wants_rx();
	test_wants_tx();
	test_arm_and_state();
	test_random_lies();
	return 0;
}
