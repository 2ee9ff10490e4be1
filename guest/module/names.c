// SPDX-License-Identifier: GPL-2.0
/*
 * Names: endpoints as the switch knows them, local ports, and getsockname() and getpeername().
 *
 * The names of circuits are kept in struct csvn_sock. The inner socket's own addresses stay as bind() set them, for
 * they are keys of the native port tables.
 */
#include <linux/in.h>
#include <linux/in6.h>
#include <net/inet_connection_sock.h>
#include <net/ipv6.h>
#include <net/tcp_states.h>

#include "names.h"
#include "sock.h"

/* Take a local port, as bind() to port 0 does. */
int csvn_take_port(struct sock *sk, struct csvn_endpoint *local)
{
	struct inet_sock *inet = inet_sk(sk);

	if (!inet->inet_num) {
		if (sk->sk_prot->get_port(sk, 0))
			return -EADDRNOTAVAIL;
		inet->inet_sport = htons(inet->inet_num);
	}
	local->port = inet->inet_num;
	return 0;
}

/* Give a port back that the program did not ask for, as TCP does on its way to TCP_CLOSE. */
void csvn_forget_port(struct sock *sk)
{
	if (inet_csk(sk)->icsk_bind_hash && !(sk->sk_userlocks & SOCK_BINDPORT_LOCK) &&
	    sk->sk_prot->put_port) {
		sk->sk_prot->put_port(sk);
		inet_sk(sk)->inet_sport = 0;
	}
}

void csvn_endpoint4(struct csvn_endpoint *e, __be32 ip, __be16 port)
{
	*e = (struct csvn_endpoint){ .family = 4, .port = ntohs(port) };
	memcpy(e->ip, &ip, sizeof(ip));
}

void csvn_endpoint6(struct csvn_endpoint *e, const struct in6_addr *ip, __be16 port, u32 scope)
{
	*e = (struct csvn_endpoint){ .family = 6, .port = ntohs(port), .scope = scope };
	memcpy(e->ip, ip, sizeof(*ip));
}

static int csvn_name4(struct sockaddr_in *sin, const struct csvn_endpoint *e)
{
	memset(sin, 0, sizeof(*sin));
	sin->sin_family = AF_INET;
	sin->sin_port = htons(e->port);
	if (e->family == 4)
		memcpy(&sin->sin_addr, e->ip, sizeof(sin->sin_addr));
	return sizeof(*sin);
}

static int csvn_name6(struct sockaddr_in6 *sin6, const struct csvn_endpoint *e)
{
	__be32 ip;

	memset(sin6, 0, sizeof(*sin6));
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(e->port);
	if (e->family == 6) {
		memcpy(&sin6->sin6_addr, e->ip, sizeof(sin6->sin6_addr));
		sin6->sin6_scope_id = e->scope;
	} else if (e->family == 4) {
		memcpy(&ip, e->ip, sizeof(ip));
		ipv6_addr_set_v4mapped(ip, &sin6->sin6_addr);
	}
	return sizeof(*sin6);
}

/* The name of an endpoint, as the sockets of a family have it. */
int csvn_name(struct sockaddr *addr, const struct csvn_endpoint *e, bool six)
{
	return six ? csvn_name6((struct sockaddr_in6 *)addr, e) : csvn_name4((struct sockaddr_in *)addr, e);
}

int csvn_getname(struct socket *sock, struct sockaddr *addr, int peer)
{
	struct csvn_sock *cs = csvn_sk(sock);
	const struct csvn_endpoint *e;
	int state;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
	case CSVN_CONNECTED:
		break;
	default:
		return csvn_native(sock)->getname(sock, addr, peer);
	}
	state = csvn_tcp_state(cs);
	/* peer 2 is accept()'s, which tells the name even when the connection is over. */
	if (peer == 1 && (state == TCP_CLOSE || state == TCP_SYN_SENT))
		return -ENOTCONN;
	e = peer ? &cs->remote : &cs->local;
	return csvn_name(addr, e, READ_ONCE(sock->ops)->family == PF_INET6);
}
