/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int address_to_system(const struct csvn_host_address *a, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
	struct sockaddr_in *four = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (a->port > UINT16_MAX)
		return -EINVAL;
	switch (a->family) {
	case 4:
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)a->port);
		memcpy(&four->sin_addr, a->ip, sizeof(four->sin_addr));
		return (int)sizeof(*four);
	case 6:
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)a->port);
		six->sin6_scope_id = a->scope;
		memcpy(&six->sin6_addr, a->ip, sizeof(six->sin6_addr));
		return (int)sizeof(*six);
	default:
		return -EAFNOSUPPORT;
	}
}

int address_from_system(const struct sockaddr_storage *a, struct csvn_host_address *out)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;
	const struct sockaddr_in *four = (const struct sockaddr_in *)a;

	memset(out, 0, sizeof(*out));
	switch (a->ss_family) {
	case AF_INET:
		out->family = 4;
		out->port = ntohs(four->sin_port);
		memcpy(out->ip, &four->sin_addr, sizeof(four->sin_addr));
		return 0;
	case AF_INET6:
		out->family = 6;
		out->port = ntohs(six->sin6_port);
		out->scope = six->sin6_scope_id;
		memcpy(out->ip, &six->sin6_addr, sizeof(six->sin6_addr));
		return 0;
	default:
		return -EAFNOSUPPORT;
	}
}

int address_unmapped(const struct sockaddr_storage *a, struct csvn_host_address *out)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	int rc = address_from_system(a, out);

	if (rc == 0 && out->family == 6 && memcmp(out->ip, mapped, sizeof(mapped)) == 0) {
		out->family = 4;
		memmove(out->ip, out->ip + 12, 4);
		memset(out->ip + 4, 0, 12);
	}
	return rc;
}

bool address_same(const struct csvn_host_address *a, const struct csvn_host_address *b)
{
	return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}
