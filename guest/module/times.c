// SPDX-License-Identifier: GPL-2.0
/*
 * SO_TIMESTAMP and its relatives: the time that goes with what was received.
 *
 * Nothing happens in this guest when bytes arrive in a ring, so there is no time of arrival: the time is that at which
 * the program has taken them.
 */
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/socket.h>
#include <linux/timekeeping.h>

#include "times.h"

static void csvn_put_timestamp(struct msghdr *msg, struct timespec64 now, bool new, bool nanoseconds)
{
	struct __kernel_timespec ns = { .tv_sec = now.tv_sec, .tv_nsec = now.tv_nsec };
	struct __kernel_sock_timeval us = { .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
	struct __kernel_old_timespec old_ns = { .tv_sec = now.tv_sec, .tv_nsec = now.tv_nsec };
	struct __kernel_old_timeval old_us = { .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };

	if (nanoseconds && new)
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_NEW, sizeof(ns), &ns);
	else if (nanoseconds)
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_OLD, sizeof(old_ns), &old_ns);
	else if (new)
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_NEW, sizeof(us), &us);
	else
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_OLD, sizeof(old_us), &old_us);
}

static void csvn_put_timestamping(struct msghdr *msg, struct timespec64 now, bool new)
{
	struct scm_timestamping64 times = { .ts[0] = { .tv_sec = now.tv_sec, .tv_nsec = now.tv_nsec } };
	struct scm_timestamping old = { .ts[0] = { .tv_sec = now.tv_sec, .tv_nsec = now.tv_nsec } };

	if (new)
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPING_NEW, sizeof(times), &times);
	else
		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPING_OLD, sizeof(old), &old);
}

/* Something was received: tell the time, if the program wants to know it. */
void csvn_put_times(struct sock *sk, struct msghdr *msg)
{
	const u32 software = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
	bool wanted = (READ_ONCE(sk->sk_tsflags) & software) == software;
	bool new = sock_flag(sk, SOCK_TSTAMP_NEW);
	struct timespec64 now;

	if (likely(!wanted && !sock_flag(sk, SOCK_RCVTSTAMP)))
		return;
	ktime_get_real_ts64(&now);
	if (sock_flag(sk, SOCK_RCVTSTAMP))
		csvn_put_timestamp(msg, now, new, sock_flag(sk, SOCK_RCVTSTAMPNS));
	if (wanted)
		csvn_put_timestamping(msg, now, new);
}
