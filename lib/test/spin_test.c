/* SPDX-License-Identifier: MIT */
/* How long to look before sleeping: the rule's cases, and what comes of it for two sides that answer each other. */
#include "csvn/spin.h"

#include "check.h"

#define MOST 500000u

static void test_rule(void)
{
	struct csvn_spin s;

	csvn_spin_init(&s);
	CHECK(csvn_spin_begin(&s, MOST) == CSVN_SPIN_FIRST);
	CHECK(csvn_spin_begin(&s, 1000) == 1000 && csvn_spin_begin(&s, 0) == 0);

	/* A look that paid: twice what it took, and not much less than the last one. */
	csvn_spin_end(&s, 100000, true);
	CHECK(csvn_spin_begin(&s, MOST) == 200000);
	csvn_spin_end(&s, 1, true);
	CHECK(csvn_spin_begin(&s, MOST) == 175000);
	for (int i = 0; i < 100; i++)
		csvn_spin_end(&s, 1, true);
	CHECK(csvn_spin_begin(&s, MOST) == CSVN_SPIN_FIRST);
	csvn_spin_end(&s, MOST, true);
	CHECK(csvn_spin_begin(&s, MOST) == MOST);

	/* By sleeps: twice a short one; none after a long one, until there is a short one. */
	csvn_spin_init(&s);
	csvn_spin_slept(&s, 30000, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == 60000);
	csvn_spin_slept(&s, 10000, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == 60000);
	csvn_spin_slept(&s, 2 * MOST - 1, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == MOST);
	csvn_spin_slept(&s, 2 * MOST, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == 0);
	csvn_spin_slept(&s, ~(__u64)0, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == 0);
	csvn_spin_slept(&s, 30000, MOST);
	CHECK(csvn_spin_begin(&s, MOST) == 60000);

	/* Looks in vain, and then a rest. */
	for (unsigned i = 0; i < CSVN_SPIN_VAIN; i++) {
		CHECK(csvn_spin_begin(&s, MOST) == 60000);
		csvn_spin_end(&s, 60000, false);
	}
	for (unsigned i = 0; i < CSVN_SPIN_REST; i++)
		CHECK(csvn_spin_begin(&s, MOST) == 0);
	CHECK(csvn_spin_begin(&s, MOST) == 60000);
	csvn_spin_end(&s, 60000, false);
	csvn_spin_end(&s, 100, true); /* one that paid makes up for those in vain */
	csvn_spin_end(&s, 60000, false);
	csvn_spin_end(&s, 60000, false);
	CHECK(csvn_spin_begin(&s, MOST) != 0);
}

/* One wait for something that comes after `ns`; ns that it takes, with a wake-up of `wake` if it sleeps. looked: adds up. */
static uint64_t wait_for(struct csvn_spin *s, uint64_t ns, uint64_t wake, uint64_t *looked)
{
	uint32_t look = csvn_spin_begin(s, MOST);

	if (look) {
		uint64_t took = ns < look ? ns : look;

		*looked += took;
		csvn_spin_end(s, (uint32_t)took, ns <= look);
		if (ns <= look)
			return ns;
	}
	csvn_spin_slept(s, ns - look + wake, MOST);
	return ns + wake;
}

/* Two sides answer each other after 1 us, and a wake-up takes so long: the mean round trip once they know each other. */
static uint64_t ping_pong(uint64_t wake)
{
	struct csvn_spin sides[2];
	uint64_t answer = 10000000, looked = 0, sum = 0; /* the first question comes late */

	csvn_spin_init(&sides[0]);
	csvn_spin_init(&sides[1]);
	for (int i = 0; i < 1000; i++) {
		/* How long this side waits is how long the other takes to wait for its question, and to answer. */
		answer = wait_for(&sides[i % 2], answer, wake, &looked) - answer + 1000;
		sum += i >= 500 ? answer : 0;
	}
	return sum / 500;
}

static void test_lock_in(void)
{
	CHECK(ping_pong(0) < 2000);
	CHECK(ping_pong(30000) < 2000); /* hardware */
	CHECK(ping_pong(300000) < 2000); /* emulation */
	CHECK(ping_pong(2000000) > 100000); /* no look is long enough */
}

/* What always takes longer than two longest looks is hardly looked for, and what takes a little more a sixth of the time at most. */
static void test_waste(void)
{
	struct csvn_spin s;
	uint64_t looked = 0, all = 0;

	csvn_spin_init(&s);
	for (int i = 0; i < 1000; i++)
		all += wait_for(&s, 5000000, 30000, &looked);
	CHECK(looked <= CSVN_SPIN_FIRST);
	csvn_spin_init(&s);
	for (int i = 0; i < 1000; i++)
		all += wait_for(&s, MOST + 1, 30000, &looked);
	CHECK(looked * 6 < all);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_rule();
	test_lock_in();
	test_waste();
	return 0;
}
