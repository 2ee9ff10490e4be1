/* SPDX-License-Identifier: MIT */
/* io_uring, by its system calls. */
#define _GNU_SOURCE
#include "sockets.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES 16

struct ring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static char buffer[4096];

static struct ring make_ring(void)
{
	struct io_uring_params p = { 0 };
	struct ring r;
	char *sq, *cq;

	r.fd = (int)MUST(syscall(SYS_io_uring_setup, ENTRIES, &p));
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED,
		  r.fd, IORING_OFF_CQ_RING);
	r.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, r.fd,
		      IORING_OFF_SQES);
	r.sq_tail = (unsigned int *)(sq + p.sq_off.tail);
	r.sq_mask = (unsigned int *)(sq + p.sq_off.ring_mask);
	r.sq_array = (unsigned int *)(sq + p.sq_off.array);
	r.cq_head = (unsigned int *)(cq + p.cq_off.head);
	r.cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	r.cq_mask = (unsigned int *)(cq + p.cq_off.ring_mask);
	r.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	return r;
}

static void submit(struct ring *r, struct io_uring_sqe sqe)
{
	unsigned int tail = *r->sq_tail, at = tail & *r->sq_mask;

	r->sqes[at] = sqe;
	r->sq_array[at] = at;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	MUST(syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0));
}

struct completion {
	uint64_t user_data;
	int res;
	unsigned int flags;
};

/* The next completion within 5 s. */
static struct completion complete(struct ring *r)
{
	struct completion c = { .res = -ETIME };

	for (int i = 0; i < 500; i++) {
		if (*r->cq_head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
			const struct io_uring_cqe *e = &r->cqes[*r->cq_head & *r->cq_mask];

			c = (struct completion){ e->user_data, e->res, e->flags };
			__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
			return c;
		}
		nap(10);
	}
	return c;
}

static int saw_completion(struct ring *r, const char *what)
{
	struct completion c = complete(r);

	if (c.res < 0) {
		errno = -c.res;
		did(what, -1);
	} else {
		did(what, c.res);
	}
	return c.res;
}

static void nothing_yet(struct ring *r)
{
	settle();
	saw("%s", *r->cq_head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) ? "nothing yet" : "done already");
}

static struct io_uring_sqe op(int code, int fd, const void *address, unsigned int length)
{
	struct io_uring_sqe sqe = { 0 };

	sqe.opcode = (unsigned char)code;
	sqe.fd = fd;
	sqe.addr = (uintptr_t)address;
	sqe.len = length;
	return sqe;
}

static void uring_stream(const void *none)
{
	struct ring r = make_ring();
	int l = listener(8), a = socket(AF_INET, SOCK_STREAM, 0), b;
	struct sockaddr_in to = reached_name_of(l);
	struct io_uring_sqe sqe;

	(void)none;
	submit(&r, op(IORING_OP_ACCEPT, l, NULL, 0));
	nothing_yet(&r);
	sqe = op(IORING_OP_CONNECT, a, &to, 0);
	sqe.off = sizeof(to);
	sqe.user_data = 1;
	submit(&r, sqe);
	b = -1;
	for (int i = 0; i < 2; i++) {
		struct completion c = complete(&r);

		if (c.user_data == 0)
			b = c.res;
		else
			did("connect", c.res);
	}
	saw("accepted: %d", b >= 0);
	submit(&r, op(IORING_OP_RECV, b, buffer, 100));
	nothing_yet(&r);
	submit(&r, op(IORING_OP_SEND, a, "hello", 5));
	saw("sum of both %d", complete(&r).res + complete(&r).res);
	saw("%.5s", buffer);
	submit(&r, op(IORING_OP_WRITE, b, "back", 4));
	saw_completion(&r, "write");
	submit(&r, op(IORING_OP_READ, a, buffer, 100));
	saw_completion(&r, "read");
	submit(&r, op(IORING_OP_SHUTDOWN, a, NULL, SHUT_WR));
	saw_completion(&r, "shutdown");
	submit(&r, op(IORING_OP_RECV, b, buffer, 100));
	saw_completion(&r, "the end");
	submit(&r, op(IORING_OP_CLOSE, b, NULL, 0));
	saw_completion(&r, "close");
}

static void uring_refused(const void *none)
{
	struct ring r = make_ring();
	int a = socket(AF_INET, SOCK_STREAM, 0), l = listener(1);
	struct sockaddr_in to = reached_name_of(l);
	struct io_uring_sqe sqe = op(IORING_OP_CONNECT, a, &to, 0);

	(void)none;
	close(l);
	sqe.off = sizeof(to);
	submit(&r, sqe);
	saw_completion(&r, "connect");
}

static void uring_poll(const void *none)
{
	struct ring r = make_ring();
	struct pair p = connected();
	struct io_uring_sqe sqe = op(IORING_OP_POLL_ADD, p.a, NULL, 0);
	struct completion c;

	(void)none;
	sqe.poll32_events = POLLIN;
	submit(&r, sqe);
	nothing_yet(&r);
	send(p.b, "x", 1, 0);
	c = complete(&r);
	saw_mask("poll", (unsigned int)c.res);
}

static void uring_cancel(const void *none)
{
	struct ring r = make_ring();
	struct pair p = connected();
	struct io_uring_sqe sqe = op(IORING_OP_RECV, p.a, buffer, 10);

	(void)none;
	sqe.user_data = 7;
	submit(&r, sqe);
	nothing_yet(&r);
	sqe = op(IORING_OP_ASYNC_CANCEL, -1, (void *)7, 0);
	submit(&r, sqe);
	for (int i = 0; i < 2; i++) {
		struct completion c = complete(&r);

		saw("%s: %s", c.user_data ? "recv" : "cancel", c.res < 0 ? strerrorname_np(-c.res) : "0");
	}
	send(p.b, "x", 1, 0);
	submit(&r, op(IORING_OP_RECV, p.a, buffer, 10));
	saw_completion(&r, "recv");
}

static void uring_multishot(const void *none)
{
	struct ring r = make_ring();
	int l = listener(8), accepted = 0;
	struct sockaddr_in to = reached_name_of(l);
	struct io_uring_sqe sqe = op(IORING_OP_ACCEPT, l, NULL, 0);

	(void)none;
	sqe.ioprio = IORING_ACCEPT_MULTISHOT;
	submit(&r, sqe);
	for (int i = 0; i < 3; i++) {
		struct completion c;

		dial(&to);
		c = complete(&r);
		accepted += c.res >= 0;
		saw("more to come: %d", !!(c.flags & IORING_CQE_F_MORE));
	}
	saw("accepted: %d", accepted);
}

static void uring_messages(const void *none)
{
	struct ring r = make_ring();
	struct pair p = connected();
	struct iovec out = { "message", 7 }, in = { buffer, 100 };
	struct msghdr sent = { .msg_iov = &out, .msg_iovlen = 1 }, got = { .msg_iov = &in, .msg_iovlen = 1 };

	(void)none;
	submit(&r, op(IORING_OP_SENDMSG, p.a, &sent, 1));
	saw_completion(&r, "sendmsg");
	submit(&r, op(IORING_OP_RECVMSG, p.b, &got, 1));
	saw_completion(&r, "recvmsg");
	close(p.b);
	settle();
	submit(&r, op(IORING_OP_SENDMSG, p.a, &sent, 1));
	saw_completion(&r, "sendmsg");
	settle();
	submit(&r, op(IORING_OP_SENDMSG, p.a, &sent, 1));
	saw_completion(&r, "sendmsg");
}

static void uring_full(const void *none)
{
	struct ring r = make_ring();
	struct pair p = connected();
	size_t left, got = 0;
	ssize_t n;

	(void)none;
	left = fill(p.a);
	submit(&r, op(IORING_OP_SEND, p.a, buffer, 10));
	nothing_yet(&r);
	while (got < left && (n = recv(p.b, buffer, sizeof(buffer), 0)) > 0)
		got += (size_t)n;
	saw_completion(&r, "send");
}

static void uring_datagram(const void *none)
{
	struct ring r = make_ring();
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to, from = { 0 };
	struct iovec out = { "datagram", 8 }, in = { buffer, 100 };
	struct msghdr sent = { .msg_iov = &out, .msg_iovlen = 1, .msg_name = &to, .msg_namelen = sizeof(to) };
	struct msghdr got = { .msg_iov = &in, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from) };

	(void)none;
	MUST(bind(b, (struct sockaddr *)&there, sizeof(there)));
	to = reached_name_of(b);
	submit(&r, op(IORING_OP_RECVMSG, b, &got, 1));
	nothing_yet(&r);
	submit(&r, op(IORING_OP_SENDMSG, a, &sent, 1));
	saw("sum of both %d", complete(&r).res + complete(&r).res);
	saw("from there: %d", from.sin_addr.s_addr == there.sin_addr.s_addr);
}

const struct test uring_tests[] = {
	CASE(uring_stream), CASE(uring_refused), CASE(uring_poll), CASE(uring_cancel), CASE(uring_multishot),
	CASE(uring_messages), CASE(uring_full), CASE(uring_datagram), END,
};
