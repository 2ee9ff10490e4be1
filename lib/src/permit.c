/* SPDX-License-Identifier: MIT */
/*
 * With whom a datagram circuit may exchange datagrams: a rule for each address, as the guest calls it and as the host's stack does, and
 * what has passed by it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define PERMITS_MAX 4096u

static bool same_address(const struct csvn_host_address *a, const struct csvn_host_address *b)
{
	return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

struct host_permit *permit_by_guest(const struct host_datagram *h, const struct csvn_host_address *a)
{
	for (uint32_t i = h->count; i-- > 0;)
		if (same_address(&h->permits[i].rule.guest, a))
			return &h->permits[i];
	return NULL;
}

struct host_permit *permit_by_actual(const struct host_datagram *h, const struct csvn_host_address *a)
{
	struct host_permit *denied = NULL;

	for (uint32_t i = h->count; i-- > 0;) {
		if (!same_address(&h->permits[i].rule.actual, a))
			continue;
		if (h->permits[i].rule.allowed)
			return &h->permits[i];
		denied = &h->permits[i];
	}
	return denied;
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

static int add_permit(struct host_datagram *h, const struct csvn_host_permit *rule)
{
	struct host_permit *known = permit_by_guest(h, &rule->guest);
	struct host_permit permit = { .rule = *rule };

	permit.length = to_socket_address(&rule->actual, h->six, &permit.actual);
	if (permit.length < 0)
		return permit.length;
	if (known) {
		permit.moved = known->moved;
		*known = permit;
		return 0;
	}
	if (h->count == h->capacity) {
		uint32_t capacity = h->capacity ? h->capacity * 2 : 8;
		struct host_permit *permits;

		if (h->count >= PERMITS_MAX)
			return -ENOBUFS;
		permits = realloc(h->permits, capacity * sizeof(*permits));
		if (!permits)
			return -ENOMEM;
		h->permits = permits;
		h->capacity = capacity;
	}
	h->permits[h->count++] = permit;
	return 0;
}

int csvn_host_datagram_permit(int plane, int circuit, const struct csvn_host_permit *permit)
{
	struct plane *p = plane_enter(plane);
	struct host_datagram *h;
	int rc = -EBADF;

	if (!p)
		return rc;
	h = handle_get(&p->host_datagrams, circuit);
	if (h) {
		rc = add_permit(h, permit);
		h->asking = false;
		datagram_doorbell(p, circuit);
	}
	plane_leave(p);
	return rc;
}

int csvn_host_datagram_forget(int plane, int circuit, const struct csvn_host_address *guest)
{
	struct plane *p = plane_enter(plane);
	struct host_datagram *h;
	struct host_permit *known;

	if (!p)
		return -EBADF;
	h = handle_get(&p->host_datagrams, circuit);
	known = h ? permit_by_guest(h, guest) : NULL;
	if (known)
		*known = h->permits[--h->count];
	plane_leave(p);
	return known ? 0 : -ENOENT;
}

int csvn_host_datagram_moved(int plane, int circuit, const struct csvn_host_address *guest, struct csvn_host_moved *out)
{
	struct plane *p = plane_enter(plane);
	struct host_permit *known = NULL;
	struct host_datagram *h;

	if (!p)
		return -EBADF;
	h = handle_get(&p->host_datagrams, circuit);
	if (h) {
		/* What the guest sent before this is to be counted. */
		datagram_doorbell(p, circuit);
		known = permit_by_guest(h, guest);
	}
	if (known) {
		*out = known->moved;
		known->moved = (struct csvn_host_moved){ 0, 0 };
	}
	plane_leave(p);
	return known ? 0 : -ENOENT;
}
