/* SPDX-License-Identifier: MIT */
/* What arenas cost the janitor: those that are merely used cost nothing, however much; those whose holders keep it waiting soon too much, and for a while. */
#define _GNU_SOURCE
#include "toll.h"

#include "check.h"

#define MS 1000000ull

/* A range was wiped that took so long, of which the thread waited, or did not. */
static void took(struct toll *t, uint64_t ns, bool waited, uint64_t bytes)
{
	struct moment began = moment_now(), ended = began;

	ended.now += ns;
	if (waited)
		ended.waits++;
	else
		ended.used += ns;
	toll_add(t, &began, &ended, bytes);
}

int main(int argc, char **argv)
{
	struct toll t = { 0 };
	struct moment m = moment_now(), later;

	test_seed(argc, argv);
	CHECK(!toll_is_high(&t, &m));
	/* Much is wiped, in the time that this takes. */
	for (int i = 0; i < 100000; i++)
		took(&t, MS / 10 + test_below(1u << 20), i % 2, 1u << 20);
	CHECK(t.paid == 0);
	/* The processor was another's. */
	later = m;
	later.now += 10000 * MS;
	toll_add(&t, &m, &later, 4096);
	CHECK(t.paid == 0);
	/* It spins, or sleeps. */
	for (int i = 0; i < 2; i++) {
		t = (struct toll){ 0 };
		m = moment_now();
		for (int k = 0; k < 10; k++) {
			CHECK(!toll_is_high(&t, &m));
			took(&t, 11 * MS, i, 4096);
		}
		CHECK(toll_is_high(&t, &m));
		/* A thousandth of the time. */
		later = m;
		later.now += 1000 * MS;
		CHECK(toll_is_high(&t, &later));
		later.now += 100000 * MS;
		CHECK(!toll_is_high(&t, &later));
	}
	return 0;
}
