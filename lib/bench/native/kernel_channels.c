/* SPDX-License-Identifier: MIT */
/* What the kernel offers two processes: stream sockets, pipes, datagram sockets, eventfds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"

#define LOOPBACK 0x7f4d6202u /* 127.77.98.2: this bench's own */

struct kernel {
	struct channel channel;
	int ends[2][2]; /* of each side: what it reads from, what it writes to */
	int side;
};

static struct kernel *of(struct channel *c)
{
	return (struct kernel *)(void *)c;
}

static void send_all(struct channel *c, const uint8_t *bytes, uint32_t n)
{
	struct kernel *k = of(c);

	while (n) {
		ssize_t done = write(k->ends[k->side][1], bytes, n);

		check(done, "write");
		bytes += done;
		n -= (uint32_t)done;
	}
}

static void receive_all(struct channel *c, uint8_t *bytes, uint32_t n)
{
	struct kernel *k = of(c);

	while (n) {
		ssize_t done = read(k->ends[k->side][0], bytes, n);

		check(done > 0 ? 0 : -1, "read");
		bytes += done;
		n -= (uint32_t)done;
	}
}

static void send_one(struct channel *c, const uint8_t *bytes, uint32_t n)
{
	check(send(of(c)->ends[of(c)->side][1], bytes, n, 0), "send");
}

static uint32_t receive_one(struct channel *c, uint8_t *bytes, uint32_t n)
{
	ssize_t done = recv(of(c)->ends[of(c)->side][0], bytes, n, 0);

	check(done, "recv");
	return (uint32_t)done;
}

static void send_event(struct channel *c, const uint8_t *bytes, uint32_t n)
{
	(void)bytes;
	(void)n;
	check(eventfd_write(of(c)->ends[of(c)->side][1], 1), "eventfd_write");
}

static void receive_event(struct channel *c, uint8_t *bytes, uint32_t n)
{
	eventfd_t count;

	(void)bytes;
	(void)n;
	check(eventfd_read(of(c)->ends[of(c)->side][0], &count), "eventfd_read");
}

static void take_side(struct channel *c, int side)
{
	of(c)->side = side;
}

static void close_ends(struct channel *c)
{
	struct kernel *k = of(c);

	for (int side = 0; side < 2; side++) {
		close(k->ends[side][0]);
		if (k->ends[side][1] != k->ends[side][0])
			close(k->ends[side][1]);
	}
	free(k);
}

static struct kernel *make(int a_in, int a_out, int b_in, int b_out)
{
	struct kernel *k = calloc(1, sizeof(*k));

	k->channel = (struct channel){
		.send = send_all, .receive = receive_all, .take_side = take_side, .close = close_ends
	};
	k->ends[0][0] = a_in;
	k->ends[0][1] = a_out;
	k->ends[1][0] = b_in;
	k->ends[1][1] = b_out;
	return k;
}

struct channel *unix_channel(void)
{
	int pair[2];

	check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	return &make(pair[0], pair[0], pair[1], pair[1])->channel;
}

struct channel *unix_datagram_channel(void)
{
	struct kernel *k;
	int pair[2];

	check(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	k = make(pair[0], pair[0], pair[1], pair[1]);
	k->channel.send_datagram = send_one;
	k->channel.receive_datagram = receive_one;
	return &k->channel;
}

struct channel *pipe_channel(void)
{
	int there[2], back[2];

	check(pipe(there), "pipe");
	check(pipe(back), "pipe");
	return &make(back[0], there[1], there[0], back[1])->channel;
}

struct channel *eventfd_channel(void)
{
	int there = eventfd(0, 0), back = eventfd(0, 0);
	struct kernel *k = make(back, there, there, back);

	k->channel.send = send_event;
	k->channel.receive = receive_event;
	return &k->channel;
}

/* Two connected sockets on a loopback address. */
static void inet_pair(int type, int pair[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) }, other;
	socklen_t length = sizeof(address), other_length = sizeof(other);
	int first = socket(AF_INET, type, 0), one = 1;

	check(bind(first, (struct sockaddr *)&address, length), "bind");
	check(getsockname(first, (struct sockaddr *)&address, &length), "getsockname");
	if (type == SOCK_STREAM)
		check(listen(first, 1), "listen");
	pair[0] = socket(AF_INET, type, 0);
	check(connect(pair[0], (struct sockaddr *)&address, length), "connect");
	if (type == SOCK_STREAM) {
		pair[1] = accept(first, NULL, NULL);
		check(pair[1], "accept");
		close(first);
		for (int i = 0; i < 2; i++)
			check(setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
		return;
	}
	check(getsockname(pair[0], (struct sockaddr *)&other, &other_length), "getsockname");
	check(connect(first, (struct sockaddr *)&other, other_length), "connect");
	pair[1] = first;
}

struct channel *tcp_channel(void)
{
	int pair[2];

	inet_pair(SOCK_STREAM, pair);
	return &make(pair[0], pair[0], pair[1], pair[1])->channel;
}

struct channel *udp_channel(void)
{
	struct kernel *k;
	int pair[2];

	inet_pair(SOCK_DGRAM, pair);
	k = make(pair[0], pair[0], pair[1], pair[1]);
	k->channel.send_datagram = send_one;
	k->channel.receive_datagram = receive_one;
	return &k->channel;
}
