/* SPDX-License-Identifier: MIT */
/* Permits against a slow oracle: random rules, of few enough addresses that they meet; and no bucket is long, however many there are. */
#include <errno.h>

#include "check.h"
#include "permit.h"

#define ADDRESSES 60u
#define STEPS 40000u
#define BUCKET_MAX 24u /* with more than 4096 rules in 4096 buckets, far beyond what chance gives */

struct known {
	bool there;
	struct csvn_host_permit rule;
	uint32_t interface; /* what is noted with it */
};

/* Of both families; some differ by the port alone, or by what lies behind an IPv4 address, which is nothing. */
static struct csvn_host_address address(uint32_t n)
{
	struct csvn_host_address a = { .family = n % 3 ? 4 : 6,
				       .port = 1000 + n % 5,
				       .ip = { 10, 0, (uint8_t)(n >> 8), (uint8_t)n } };

	if (a.family == 6)
		a.ip[15] = (uint8_t)(n / 7);
	return a;
}

static bool same(const struct csvn_host_address *a, const struct csvn_host_address *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void test_oracle(void)
{
	static struct known known[ADDRESSES];
	struct permit_table t = { 0 };
	uint32_t count = 0;

	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t n = test_below(ADDRESSES);
		struct csvn_host_permit rule = { .guest = address(n),
						 .actual = address(test_below(12)),
						 .allowed = test_below(2) };
		struct csvn_host_address noise = rule.guest;
		struct permit *permit = permit_by_guest(&t, &noise);

		CHECK((permit != NULL) == known[n].there);
		if (test_below(3)) {
			CHECK(permit_set(&t, &rule, true) == 0);
			count += !known[n].there;
			known[n].there = true;
			known[n].rule = rule;
			permit = permit_by_guest(&t, &rule.guest);
			/* What is known of the address stays when its rule is another. */
			CHECK(permit && permit->interface == known[n].interface);
			permit->interface = known[n].interface = step;
		} else if (permit) {
			permit_drop(&t, permit);
			known[n] = (struct known){ .there = false };
			count--;
		}
		CHECK(t.count == count);
		for (uint32_t i = 0; i < ADDRESSES; i++) {
			struct csvn_host_address a = address(i);

			permit = permit_by_guest(&t, &a);
			CHECK((permit != NULL) == known[i].there);
			CHECK(!permit ||
			      (same(&permit->rule.guest, &a) && permit->rule.allowed == known[i].rule.allowed));
		}
		for (uint32_t i = 0; i < 12; i++) {
			struct csvn_host_address a = address(i);
			bool any = false, allowed = false;

			for (uint32_t j = 0; j < ADDRESSES; j++) {
				bool here = known[j].there && same(&known[j].rule.actual, &a);

				any |= here;
				allowed |= here && known[j].rule.allowed;
			}
			permit = permit_by_actual(&t, &a);
			CHECK((permit != NULL) == any);
			CHECK(!permit || (same(&permit->rule.actual, &a) && permit->rule.allowed == allowed));
		}
	}
	permit_table_free(&t);
}

static void test_many(void)
{
	struct csvn_host_permit rule = { .allowed = 1 };
	struct permit_table t = { 0 };
	uint32_t longest = 0;

	for (uint32_t i = 0; i <= PERMITS_MAX; i++) {
		/* Ports, then addresses, one after another: what a scanner sends to. */
		rule.guest = (struct csvn_host_address){ .family = 4,
							 .port = i % 64,
							 .ip = { 192, 0, 2, (uint8_t)(i / 64) } };
		rule.actual = rule.guest;
		CHECK(permit_set(&t, &rule, false) == (i < PERMITS_MAX ? 0 : -ENOBUFS));
	}
	CHECK(t.count == PERMITS_MAX);
	for (uint32_t bucket = 0; bucket < t.capacity; bucket++) {
		uint32_t length = 0;

		for (uint32_t at = t.guest[bucket]; at; at = t.permits[at - 1].next_guest)
			length++;
		longest = length > longest ? length : longest;
	}
	CHECK(longest <= BUCKET_MAX);
	rule.actual.family = rule.guest.family = 6;
	CHECK(permit_set(&t, &rule, false) == -EAFNOSUPPORT);
	permit_table_free(&t);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_oracle();
	test_many();
	return 0;
}
