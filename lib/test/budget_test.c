/* SPDX-License-Identifier: MIT */
/* How long ports may look before they sleep: the limit for all of them, and what one makes of it. */
#include "budget.h"

#include "check.h"
#include "busy_poll.h"

#define PORTS 300u
#define SECOND 1000000000ull

/* Ports that would look so much look as much as the limit lets them. What they come to after some rounds, and the limits on the way. */
static uint64_t settle(const uint32_t *wanted, uint32_t ports, uint32_t budget, uint32_t *limit)
{
	uint32_t polled[PORTS];
	uint64_t all = 0;

	for (int round = 0; round < 50; round++) {
		all = 0;
		for (uint32_t i = 0; i < ports; i++) {
			polled[i] = *limit && *limit < wanted[i] ? *limit : wanted[i];
			all += polled[i];
		}
		*limit = budget_limit(polled, ports, budget, *limit);
		CHECK(*limit < BUDGET_PORT);
	}
	return all;
}

static void test_limit(void)
{
	uint32_t polled[PORTS], limit = 0;

	CHECK(budget_limit(NULL, 0, 1000, 0) == 0);
	/* Enough for all: no limit. */
	polled[0] = polled[1] = 500;
	CHECK(budget_limit(polled, 2, 1000, 0) == 0);
	/* Those who look little do not pay for those who look much. */
	polled[0] = 100;
	polled[1] = polled[2] = 1000;
	CHECK(budget_limit(polled, 3, 1000, 0) == 450);
	/* One that says more than can be has no more weight than one that polls all the time. */
	polled[1] = UINT32_MAX;
	CHECK(budget_limit(polled, 3, 1000, 0) == 450);
	/* However many there are, each may look once in a while. */
	for (uint32_t i = 0; i < PORTS; i++)
		polled[i] = 1000;
	CHECK(budget_limit(polled, PORTS, 100, 0) == 1);
	/* It rises, and is lifted, when there is less to do. */
	limit = 10;
	polled[0] = 10;
	for (int i = 0; i < 60 && limit; i++)
		limit = budget_limit(polled, 1, 1000, limit);
	CHECK(limit == 0);
}

static void test_settled(void)
{
	uint32_t wanted[PORTS];

	for (int round = 0; round < 200; round++) {
		uint32_t ports = 1 + test_below(PORTS), limit = 0, budget = 1000 + test_below(3000);
		uint64_t all = 0, most;

		for (uint32_t i = 0; i < ports; i++)
			all += wanted[i] = test_below(test_below(2) ? 20 : 1001);
		most = settle(wanted, ports, budget, &limit);
		/* By a quarter and a thousandth for each it may be above, for a second. */
		CHECK(most <= budget + budget / 4 + ports);
		if (all <= budget)
			CHECK(limit == 0 && most == all);
		else
			CHECK(most >= budget / 2 || most + ports >= all);
	}
	CHECK(budget_of_host() >= BUDGET_PORT);
}

static void test_afford(void)
{
	struct busy_poll l = { .due = false };
	uint64_t now = 5 * SECOND, polled = 0;

	/* Without a limit: all of it. */
	for (int i = 0; i < 1000; i++) {
		CHECK(busy_poll_afford(&l, 0, 50000, now) == 50000);
		busy_poll_spend(&l, 50000);
		now += 50000;
	}
	/* With one: no more than it, and what was saved. */
	for (int i = 0; i < 100000; i++) {
		uint32_t length = busy_poll_afford(&l, 10, 50000, now);

		CHECK(length == 0 || (length >= 16000 && length <= 50000));
		busy_poll_spend(&l, length);
		polled += length;
		now += 50000;
	}
	CHECK(polled <= 50000ull * 100000 / 100 + 1000000 && polled >= 50000ull * 100000 / 100 * 9 / 10);
	/* After an hour of nothing no more than a few are saved up. */
	now += 3600 * SECOND;
	polled = 0;
	for (int i = 0; i < 100; i++) {
		uint32_t length = busy_poll_afford(&l, 10, 50000, now);

		busy_poll_spend(&l, length);
		polled += length;
	}
	CHECK(polled == 1000000);
	/* A look may take longer than it should. */
	busy_poll_spend(&l, SECOND);
	CHECK(busy_poll_afford(&l, 10, 50000, now + 1000) == 0);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_limit();
	test_settled();
	test_afford();
	return 0;
}
