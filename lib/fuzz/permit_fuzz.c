/* SPDX-License-Identifier: MIT */
/* Permits that are set, dropped and looked up beside a plain list of them, with addresses of which many differ in one field alone. */
#include <errno.h>

#include "address.h"
#include "input.h"
#include "permit.h"

#define KNOWN_MAX 512u

struct known {
	struct csvn_host_permit rule;
	uint32_t interface; /* what is noted with it */
};

static struct known known[KNOWN_MAX];
static uint32_t known_count;

/* The same address, by what an address is: family, port, and as many bytes as it has; whatever its scope and what is behind it. */
static bool same(const struct csvn_host_address *a, const struct csvn_host_address *b)
{
	return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

static struct csvn_host_address address(struct input *in)
{
	uint32_t which = input_byte(in);
	struct csvn_host_address a = { .family = which & 1 ? 4 : 6, .port = which >> 1 & 3, .scope = which >> 3 & 1 };

	a.ip[which >> 4] = input_byte(in);
	return a;
}

static uint32_t find(const struct csvn_host_address *guest)
{
	uint32_t i = 0;

	while (i < known_count && !same(&known[i].rule.guest, guest))
		i++;
	return i;
}

static void look(const struct permit_table *t, const struct csvn_host_address *a)
{
	const struct permit *permit = permit_by_guest(t, a);
	uint32_t at = find(a);
	bool any = false, allowed = false;

	CHECK((permit != NULL) == (at < known_count));
	if (permit)
		CHECK(memcmp(&permit->rule, &known[at].rule, sizeof(permit->rule)) == 0 &&
		      permit->interface == known[at].interface);
	for (uint32_t i = 0; i < known_count; i++) {
		bool here = same(&known[i].rule.actual, a);

		any |= here;
		allowed |= here && known[i].rule.allowed;
	}
	permit = permit_by_actual(t, a);
	CHECK((permit != NULL) == any);
	CHECK(!permit || (same(&permit->rule.actual, a) && permit->rule.allowed == allowed));
}

static void set(struct permit_table *t, struct input *in, bool six)
{
	struct csvn_host_permit rule = { .guest = address(in), .actual = address(in) };
	uint32_t at = find(&rule.guest), flags = input_byte(in);
	struct permit *permit;
	int rc;

	rule.allowed = flags & 1;
	rule.error = flags >> 1;
	if (at == KNOWN_MAX)
		return;
	rc = permit_set(t, &rule, six);
	CHECK(rc == (!six && rule.actual.family == 6 ? -EAFNOSUPPORT : 0));
	if (rc < 0)
		return;
	if (at == known_count)
		known[known_count++].interface = 0;
	known[at].rule = rule;
	permit = permit_by_guest(t, &rule.guest);
	/* What is known of the address stays when its rule is another. */
	CHECK(permit && permit->interface == known[at].interface);
	CHECK(permit->length == (six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)));
	permit->interface = known[at].interface = flags;
}

static void drop(struct permit_table *t, const struct csvn_host_address *guest)
{
	struct permit *permit = permit_by_guest(t, guest);
	uint32_t at = find(guest);

	CHECK((permit != NULL) == (at < known_count));
	if (!permit)
		return;
	permit_drop(t, permit);
	known[at] = known[--known_count];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	struct permit_table t = { 0 };
	bool six = input_byte(&in) & 1;
	struct csvn_host_address a;

	known_count = 0;
	while (in.at < in.end) {
		switch (input_byte(&in) % 8) {
		case 0:
		case 1:
		case 2:
		case 3:
			set(&t, &in, six);
			break;
		case 4:
		case 5:
			a = address(&in);
			look(&t, &a);
			break;
		case 6:
			a = address(&in);
			drop(&t, &a);
			break;
		case 7:
			/* The oldest, so that tables also shrink. */
			if (known_count) {
				a = known[0].rule.guest;
				drop(&t, &a);
			}
			break;
		}
		CHECK(t.count == known_count);
	}
	for (uint32_t i = 0; i < known_count; i++) {
		look(&t, &known[i].rule.guest);
		look(&t, &known[i].rule.actual);
	}
	permit_table_free(&t);
	return 0;
}
