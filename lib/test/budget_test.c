/* SPDX-License-Identifier: MIT */
/* How long ports may look before they sleep: the limit for all of them, and what one makes of it. */
#include "budget.h"

#include "check.h"
#include "look.h"

#define PORTS 300u
#define SECOND 1000000000ull

/* Ports that would look so much look as much as the limit lets them. What they come to after some rounds, and the limits on the way. */
static uint64_t settle(const uint32_t *wanted, uint32_t ports, uint32_t budget, uint32_t *limit)
{
	uint32_t looked[PORTS];
	uint64_t all = 0;

	for (int round = 0; round < 50; round++) {
		all = 0;
		for (uint32_t i = 0; i < ports; i++) {
			looked[i] = *limit && *limit < wanted[i] ? *limit : wanted[i];
			all += looked[i];
		}
		*limit = budget_limit(looked, ports, budget, *limit);
		CHECK(*limit < BUDGET_PORT);
	}
	return all;
}

static void test_limit(void)
{
	uint32_t looked[PORTS], limit = 0;

	CHECK(budget_limit(NULL, 0, 1000, 0) == 0);
	/* Enough for all: no limit. */
	looked[0] = looked[1] = 500;
	CHECK(budget_limit(looked, 2, 1000, 0) == 0);
	/* Those who look little do not pay for those who look much. */
	looked[0] = 100;
	looked[1] = looked[2] = 1000;
	CHECK(budget_limit(looked, 3, 1000, 0) == 450);
	/* One that says more than can be has no more weight than one that looks all the time. */
	looked[1] = UINT32_MAX;
	CHECK(budget_limit(looked, 3, 1000, 0) == 450);
	/* However many there are, each may look once in a while. */
	for (uint32_t i = 0; i < PORTS; i++)
		looked[i] = 1000;
	CHECK(budget_limit(looked, PORTS, 100, 0) == 1);
	/* It rises, and is lifted, when there is less to do. */
	limit = 10;
	looked[0] = 10;
	for (int i = 0; i < 60 && limit; i++)
		limit = budget_limit(looked, 1, 1000, limit);
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
	struct look l = { .due = false };
	uint64_t now = 5 * SECOND, looked = 0;

	/* Without a limit: all of it. */
	for (int i = 0; i < 1000; i++) {
		CHECK(look_afford(&l, 0, 50000, now) == 50000);
		look_spend(&l, 50000);
		now += 50000;
	}
	/* With one: no more than it, and what was saved. */
	for (int i = 0; i < 100000; i++) {
		uint32_t length = look_afford(&l, 10, 50000, now);

		CHECK(length == 0 || (length >= 16000 && length <= 50000));
		look_spend(&l, length);
		looked += length;
		now += 50000;
	}
	CHECK(looked <= 50000ull * 100000 / 100 + 1000000 && looked >= 50000ull * 100000 / 100 * 9 / 10);
	/* After an hour of nothing no more than a few are saved up. */
	now += 3600 * SECOND;
	looked = 0;
	for (int i = 0; i < 100; i++) {
		uint32_t length = look_afford(&l, 10, 50000, now);

		look_spend(&l, length);
		looked += length;
	}
	CHECK(looked == 1000000);
	/* A look may take longer than it should. */
	look_spend(&l, SECOND);
	CHECK(look_afford(&l, 10, 50000, now + 1000) == 0);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_limit();
	test_settled();
	test_afford();
	return 0;
}
