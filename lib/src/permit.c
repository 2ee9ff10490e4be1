/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "permit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "address.h"

#define FIRST_CAPACITY 8u

/* Guests choose addresses, and must not choose buckets. */
static uint64_t secret[2];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void)
{
	/* Without it (before the system has gathered entropy) it is 0, and lookups are as good, until somebody takes the trouble. */
	if (getrandom(secret, sizeof(secret), GRND_NONBLOCK) != sizeof(secret))
		secret[0] = secret[1] = 0;
}

static uint64_t rotated(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotated(v[1], 13) ^ v[0];
	v[0] = rotated(v[0], 32);
	v[2] += v[3];
	v[3] = rotated(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotated(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotated(v[1], 17) ^ v[2];
	v[2] = rotated(v[2], 32);
}

/* SipHash-1-3 of an address, in three words and one of their length. */
static uint64_t hash(const struct csvn_host_address *a)
{
	uint64_t words[4] = { (uint64_t)a->family << 32 | a->port, 0, 0, 24ull << 56 };
	uint64_t v[4] = { secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du,
			  secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u };

	memcpy(&words[1], a->ip, a->family == 4 ? 4 : 16);
	for (int i = 0; i < 4; i++) {
		v[3] ^= words[i];
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t *guest_bucket(const struct permit_table *t, const struct csvn_host_address *a)
{
	return &t->guest[hash(a) & (t->capacity - 1)];
}

static uint32_t *actual_bucket(const struct permit_table *t, const struct csvn_host_address *a)
{
	return &t->actual[hash(a) & (t->capacity - 1)];
}

void permit_table_free(struct permit_table *t)
{
	free(t->permits);
	free(t->guest);
	free(t->actual);
	memset(t, 0, sizeof(*t));
}

struct permit *permit_by_guest(const struct permit_table *t, const struct csvn_host_address *a)
{
	for (uint32_t at = t->count ? *guest_bucket(t, a) : 0; at; at = t->permits[at - 1].next_guest)
		if (address_same(&t->permits[at - 1].rule.guest, a))
			return &t->permits[at - 1];
	return NULL;
}

struct permit *permit_by_actual(const struct permit_table *t, const struct csvn_host_address *a)
{
	struct permit *denied = NULL;

	for (uint32_t at = t->count ? *actual_bucket(t, a) : 0; at; at = t->permits[at - 1].next_actual) {
		struct permit *permit = &t->permits[at - 1];

		if (!address_same(&permit->rule.actual, a))
			continue;
		if (permit->rule.allowed)
			return permit;
		denied = permit;
	}
	return denied;
}

static void link_place(struct permit_table *t, uint32_t place)
{
	struct permit *permit = &t->permits[place];
	uint32_t *guest = guest_bucket(t, &permit->rule.guest);
	uint32_t *actual = actual_bucket(t, &permit->rule.actual);

	permit->next_guest = *guest;
	permit->next_actual = *actual;
	*guest = *actual = place + 1;
}

static void unlink_place(struct permit_table *t, uint32_t place)
{
	struct permit *permit = &t->permits[place];
	uint32_t *at;

	for (at = guest_bucket(t, &permit->rule.guest); *at != place + 1; at = &t->permits[*at - 1].next_guest)
		;
	*at = permit->next_guest;
	for (at = actual_bucket(t, &permit->rule.actual); *at != place + 1; at = &t->permits[*at - 1].next_actual)
		;
	*at = permit->next_actual;
}

static int grow(struct permit_table *t)
{
	uint32_t capacity = t->capacity ? t->capacity * 2 : FIRST_CAPACITY;
	struct permit_table next = { .count = t->count, .capacity = capacity };

	(void)pthread_once(&secret_once, make_secret);
	next.permits = calloc(capacity, sizeof(*next.permits));
	next.guest = calloc(capacity, sizeof(*next.guest));
	next.actual = calloc(capacity, sizeof(*next.actual));
	if (!next.permits || !next.guest || !next.actual) {
		permit_table_free(&next);
		return -ENOMEM;
	}
	if (t->count)
		memcpy(next.permits, t->permits, t->count * sizeof(*t->permits));
	for (uint32_t place = 0; place < next.count; place++)
		link_place(&next, place);
	permit_table_free(t);
	*t = next;
	return 0;
}

/* An address in the form that the socket takes. */
static int to_socket_address(const struct csvn_host_address *a, bool six, struct sockaddr_storage *out)
{
	struct csvn_host_address mapped = { .family = 6, .port = a->port };

	if (!six && a->family == 6)
		return -EAFNOSUPPORT;
	if (!six || a->family == 6)
		return address_to_system(a, out);
	mapped.ip[10] = mapped.ip[11] = 0xff;
	memcpy(mapped.ip + 12, a->ip, 4);
	return address_to_system(&mapped, out);
}

int permit_set(struct permit_table *t, const struct csvn_host_permit *rule, bool six)
{
	struct permit *known = permit_by_guest(t, &rule->guest);
	struct permit permit = { .rule = *rule };
	struct sockaddr_storage actual;
	int length = to_socket_address(&rule->actual, six, &actual);
	uint32_t place;

	if (length < 0)
		return length;
	permit.length = (socklen_t)length;
	memcpy(&permit.actual, &actual, permit.length);
	if (known) {
		place = (uint32_t)(known - t->permits);
		permit.has_local = known->has_local;
		permit.local = known->local;
		permit.interface = known->interface;
		unlink_place(t, place);
	} else {
		if (t->count >= PERMITS_MAX)
			return -ENOBUFS;
		if (t->count == t->capacity && grow(t) < 0)
			return -ENOMEM;
		place = t->count++;
	}
	t->permits[place] = permit;
	link_place(t, place);
	return 0;
}

void permit_drop(struct permit_table *t, struct permit *known)
{
	uint32_t place = (uint32_t)(known - t->permits), last = t->count - 1;

	unlink_place(t, place);
	if (place != last) {
		unlink_place(t, last);
		t->permits[place] = t->permits[last];
		link_place(t, place);
	}
	t->count--;
}
