// SPDX-License-Identifier: GPL-2.0
/*
 * connect().
 *
 * Theory of operation. connect() to what csvn_route() says is a circuit's makes an attempt (connecting.c): a CONNECT request, with the
 * circuit's structure made beforehand. The answer comes in an interrupt, or is found by a caller that looks for it before it
 * sleeps; that maps the circuit, attaches it to the socket and wakes it (or notes the error). Blocking and non-blocking calls differ only in whether they wait; an
 * interrupted or timed-out connect() goes on in the background. The results are inet_stream_connect()'s, step by
 * step: sock->state stays SS_CONNECTING until a connect() call has told the outcome.
 *
 * The local port is taken from the native port tables and held there as by bind(), until close() or failure.
 */
#include <linux/sched/signal.h>
#include <net/inet_sock.h>
#include <net/tcp.h>

#include "close.h"
#include "connect.h"
#include "connecting.h"
#include "device.h"
#include "listen.h"
#include "names.h"
#include "route.h"
#include "sock.h"

/* What connect() says once nothing is under way. The socket is locked. */
static int csvn_connect_outcome(struct csvn_sock *cs)
{
	struct sock *sk = cs->sk;
	int err;

	if (csvn_tcp_state(cs) != TCP_CLOSE) {
		cs->sock->state = SS_CONNECTED;
		return 0;
	}
	err = sock_error(sk) ? : -ECONNABORTED;
	csvn_disconnect(cs);
	return err;
}

static int csvn_connect_locked(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags,
			       bool *native)
{
	struct csvn_endpoint local, remote;
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	struct csvn_device *dev;
	long timeo = sock_sndtimeo(sk, flags & O_NONBLOCK);
	int err, disconnects;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTING:
		err = -EALREADY;
		break;
	case CSVN_FAILED:
	case CSVN_CONNECTED:
		if (sock->state == SS_CONNECTED)
			return -EISCONN;
		if (sock->state != SS_CONNECTING)
			return -EINVAL;
		return csvn_connect_outcome(cs);
	default:
		*native = true;
		/* Sockets without a file are the kernel's: their users want a native one, whatever they call. */
		if (sock->state != SS_UNCONNECTED || sk->sk_state != TCP_CLOSE || !sock->file)
			return 0;
		dev = csvn_route(sk, addr, addr_len, &local, &remote);
		if (!dev)
			return 0;
		*native = false;
		cs = csvn_sock_need(sock);
		err = cs ? csvn_take_port(sk, &local) : -ENOMEM;
		if (!err && !remote.port) { /* nobody can listen there */
			csvn_forget_port(sk);
			err = -ECONNREFUSED;
		}
		if (err) {
			csvn_device_put(dev);
			return err;
		}
		cs->local = local;
		cs->remote = remote;
		WRITE_ONCE(sk->sk_err, 0);
		sock_reset_flag(sk, SOCK_DONE);
		/* With both ends here the listener learns of it by the same interrupt, and is to have done so when this returns. */
		err = csvn_connecting_begin(cs, dev, timeo && memcmp(local.ip, remote.ip, sizeof(local.ip)));
		if (err) {
			csvn_forget_port(sk);
			return err;
		}
		sock->state = SS_CONNECTING;
		err = -EINPROGRESS;
	}

	if (!timeo)
		return err; /* even if the answer is there already: as with TCP, the next call tells */
	if (csvn_state(cs) == CSVN_CONNECTING) {
		disconnects = cs->disconnects;
		timeo = csvn_connecting_wait(cs, timeo);
		if (csvn_state(cs) == CSVN_CONNECTING) {
			if (!timeo)
				return err;
			return sock_intr_errno(timeo);
		}
		if (disconnects != cs->disconnects)
			return -EPIPE;
	}
	return csvn_connect_outcome(cs);
}

int csvn_connect(struct socket *sock, csvn_sockaddr *addr, int addr_len, int flags)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct sock *sk = sock->sk;
	bool native = false;
	int err;

	if (addr_len < (int)sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family == AF_UNSPEC) {
		switch (csvn_state(cs)) {
		case CSVN_CONNECTING:
		case CSVN_FAILED:
		case CSVN_CONNECTED:
			lock_sock(sk);
			csvn_disconnect(cs);
			release_sock(sk);
			return 0;
		case CSVN_LISTENING:
			csvn_unlisten(cs);
			fallthrough;
		default:
			return csvn_native(sock)->connect(sock, addr, addr_len, flags);
		}
	}
	lock_sock(sk);
	err = csvn_connect_locked(sock, addr, addr_len, flags, &native);
	release_sock(sk);
	return native ? csvn_native(sock)->connect(sock, addr, addr_len, flags) : err;
}
