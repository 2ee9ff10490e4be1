/* SPDX-License-Identifier: MIT */
/* Streams: every call and flag that moves bytes. */
#define _GNU_SOURCE
#include "sockets.h"

#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

/* TCP holds bytes back for 200 ms at most. */
#define AT_ONCE_MS 100

static char buffer[1 << 16];

static void read_write(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(write(p.a, "hello", 5));
	saw_bytes("read", buffer, read(p.b, buffer, 100));
	SAW(write(p.b, "", 0));
	SAW(read(p.a, buffer, 0));
	SAW(write(p.a, "abc", 3));
	SAW(write(p.a, "def", 3));
	arrived(p.b, 6);
	saw_bytes("read of two writes", buffer, read(p.b, buffer, 100));
	SAW(write(p.a, "abcdef", 6));
	saw_bytes("short read", buffer, read(p.b, buffer, 4));
	saw_bytes("the rest", buffer, read(p.b, buffer, 4));
	SAW(pread(p.b, buffer, 1, 0));
	SAW(pwrite(p.b, buffer, 1, 0));
	SAW(lseek(p.b, 0, SEEK_CUR));
	SAW(fsync(p.b));
	SAW(ftruncate(p.b, 0));
}

static void readv_writev(const void *none)
{
	struct pair p = connected();
	char one[3], two[4];
	struct iovec out[] = { { "ab", 2 }, { "", 0 }, { "cdefg", 5 } };
	struct iovec in[] = { { one, 3 }, { NULL, 0 }, { two, 4 } };
	static struct iovec many[1025];

	(void)none;
	SAW(writev(p.a, out, 3));
	SAW(readv(p.b, in, 3));
	saw("%.3s %.4s", one, two);
	SAW(writev(p.a, many, 1025));
	SAW(writev(p.a, out, 0));
}

static void send_recv(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(send(p.a, "hello", 5, 0));
	arrived(p.b, 5);
	SAW(recv(p.b, buffer, 0, MSG_DONTWAIT));
	saw_bytes("recv", buffer, recv(p.b, buffer, 100, 0));
	SAW(recv(p.b, buffer, 0, MSG_DONTWAIT));
	SAW(send(p.a, "", 0, 0));
	SAW(recv(p.b, buffer, 100, MSG_DONTWAIT));
	SAW(send(-1, "x", 1, 0));
	SAW(send(p.a, NULL, 5, 0));
	SAW(send(p.a, "later", 5, 0));
	SAW(recv(p.b, NULL, 5, 0));
	saw_bytes("after EFAULT", buffer, recv(p.b, buffer, 100, MSG_DONTWAIT));
}

static void sendto_recvfrom(const void *none)
{
	struct pair p = connected();
	struct sockaddr_in from, to = there;
	socklen_t length = sizeof(from);

	(void)none;
	to.sin_port = htons(9);
	SAW(sendto(p.a, "abc", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	SAW(recvfrom(p.b, buffer, 100, 0, (struct sockaddr *)&from, &length));
	saw("length of the name: %u", length);
	SAW(sendto(socket(AF_INET, SOCK_STREAM, 0), "abc", 3, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)));
	SAW(sendto(socket(AF_INET, SOCK_STREAM, 0), "abc", 3, 0, NULL, 0));
	SAW(recvfrom(socket(AF_INET, SOCK_STREAM, 0), buffer, 3, 0, NULL, NULL));
}

static void sendmsg_recvmsg(const void *none)
{
	struct pair p = connected();
	struct sockaddr_in name;
	char control[100];
	struct iovec out[] = { { "ab", 2 }, { "cd", 2 } }, in = { buffer, 100 };
	struct msghdr m = { .msg_iov = out, .msg_iovlen = 2 };
	struct cmsghdr *c = (struct cmsghdr *)control;

	(void)none;
	SAW(sendmsg(p.a, &m, 0));
	m = (struct msghdr){ .msg_name = &name, .msg_namelen = sizeof(name), .msg_iov = &in, .msg_iovlen = 1,
			     .msg_control = control, .msg_controllen = sizeof(control), .msg_flags = -1 };
	SAW(recvmsg(p.b, &m, 0));
	saw("name %u, control %zu, flags %#x", m.msg_namelen, m.msg_controllen, m.msg_flags);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = 9999;
	c->cmsg_len = CMSG_LEN(4);
	m = (struct msghdr){ .msg_iov = out, .msg_iovlen = 2, .msg_control = control, .msg_controllen = CMSG_SPACE(4) };
	SAW(sendmsg(p.a, &m, 0));
	m.msg_iovlen = 2000;
	SAW(sendmsg(p.a, &m, 0));
	SAW(recv(p.b, buffer, 100, MSG_DONTWAIT));
}

static void sendmmsg_recvmmsg(const void *none)
{
	struct pair p = connected();
	struct timespec limit = { 0, 100000000 };
	struct iovec out[] = { { "one", 3 }, { "two!", 4 } }, in[] = { { buffer, 5 }, { buffer + 5, 5 } };
	struct mmsghdr m[2] = { { .msg_hdr = { .msg_iov = &out[0], .msg_iovlen = 1 } },
				{ .msg_hdr = { .msg_iov = &out[1], .msg_iovlen = 1 } } };

	(void)none;
	SAW(sendmmsg(p.a, m, 2, 0));
	saw("%u and %u", m[0].msg_len, m[1].msg_len);
	m[0].msg_hdr.msg_iov = &in[0];
	m[1].msg_hdr.msg_iov = &in[1];
	arrived(p.b, 7);
	SAW(recvmmsg(p.b, m, 2, 0, &limit));
	saw("%u and %u: %.7s", m[0].msg_len, m[1].msg_len, buffer);
	SAW(recvmmsg(p.b, m, 2, MSG_DONTWAIT, NULL));
	SAW(send(p.a, "x", 1, 0));
	SAW(recvmmsg(p.b, m, 2, MSG_WAITFORONE, NULL));
	SAW(sendmmsg(p.a, m, 0, 0));
}

static int file_of(size_t size)
{
	int fd = (int)MUST(memfd_create("file", 0));

	for (size_t i = 0; i < sizeof(buffer); i++)
		buffer[i] = (char)(i * 7 + i / 256);
	for (; size > 0; size -= size < sizeof(buffer) ? size : sizeof(buffer))
		MUST(write(fd, buffer, size < sizeof(buffer) ? size : sizeof(buffer)));
	return fd;
}

static uint32_t sum(uint32_t so_far, const char *bytes, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++)
		so_far = so_far * 31 + (unsigned char)bytes[i];
	return so_far;
}

static void receive_all(int fd)
{
	char bytes[5000];
	uint32_t total = 0;
	size_t count = 0;
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		total = sum(total, bytes, n);
		count += (size_t)n;
	}
	saw("received %zu, sum %u, then %zd", count, total, n);
}

static void send_file(const void *none)
{
	struct pair p = connected();
	int file = file_of(1000000);
	off_t at = 10;
	struct later l;

	(void)none;
	SAW(sendfile(p.a, file, &at, 20));
	saw("offset %ld", at);
	SAW(recv(p.b, buffer, 100, 0));
	MUST(lseek(file, 0, SEEK_SET));
	later(&l, 0, receive_all, p.b);
	for (long n, left = 1000000; left > 0; left -= n)
		n = MUST(sendfile(p.a, file, NULL, (size_t)left));
	SAW(sendfile(p.a, file, NULL, 10));
	shutdown(p.a, SHUT_WR);
	finished(&l);
	SAW(sendfile(p.a, file, &(off_t){ 0 }, 10));
	SAW(sendfile(file, p.b, NULL, 10));
}

static void splicing(const void *none)
{
	struct pair p = connected();
	int pipes[2];

	(void)none;
	MUST(pipe(pipes));
	SAW(write(pipes[1], "to the socket", 13));
	SAW(splice(pipes[0], NULL, p.a, NULL, 13, 0));
	SAW(splice(p.b, NULL, pipes[1], NULL, 100, 0));
	saw_bytes("from the pipe", buffer, read(pipes[0], buffer, 100));
	MUST(fcntl(p.b, F_SETFL, O_NONBLOCK));
	SAW(splice(p.b, NULL, pipes[1], NULL, 100, 0));
	SAW(splice(p.b, &(off_t){ 0 }, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
	SAW(splice(p.b, NULL, p.a, NULL, 100, 0));
	shutdown(p.a, SHUT_WR);
	await(p.b, POLLIN);
	SAW(splice(p.b, NULL, pipes[1], NULL, 100, 0));
	SAW(write(pipes[1], "x", 1));
	SAW(splice(pipes[0], NULL, p.a, NULL, 1, 0));
}

static void peek(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(recv(p.b, buffer, 100, MSG_PEEK | MSG_DONTWAIT));
	send(p.a, "hello", 5, 0);
	saw_bytes("peek", buffer, recv(p.b, buffer, 3, MSG_PEEK));
	saw_bytes("peek at all", buffer, recv(p.b, buffer, 100, MSG_PEEK));
	saw_bytes("read", buffer, recv(p.b, buffer, 2, 0));
	saw_bytes("peek at the rest", buffer, recv(p.b, buffer, 100, MSG_PEEK));
	timeout(p.b, SO_RCVTIMEO, 200);
	SAW(recv(p.b, buffer, 4, MSG_PEEK | MSG_WAITALL));
	shutdown(p.a, SHUT_WR);
	SAW(recv(p.b, buffer, 4, MSG_PEEK | MSG_WAITALL));
	SAW(recv(p.b, buffer, 4, 0));
	SAW(recv(p.b, buffer, 4, MSG_PEEK));
}

static void peek_offset(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(get_int(p.b, SOL_SOCKET, SO_PEEK_OFF));
	SAW(set_int(p.b, SOL_SOCKET, SO_PEEK_OFF, 2));
	send(p.a, "abcdefgh", 8, 0);
	saw_bytes("peek", buffer, recv(p.b, buffer, 3, MSG_PEEK));
	saw_bytes("peek on", buffer, recv(p.b, buffer, 2, MSG_PEEK));
	SAW(get_int(p.b, SOL_SOCKET, SO_PEEK_OFF));
	saw_bytes("read", buffer, recv(p.b, buffer, 3, 0));
	SAW(get_int(p.b, SOL_SOCKET, SO_PEEK_OFF));
	saw_bytes("peek at the end", buffer, recv(p.b, buffer, 30, MSG_PEEK));
	SAW(recv(p.b, buffer, 30, MSG_PEEK | MSG_DONTWAIT));
}

static void waitall(const void *none)
{
	struct pair p = connected();
	struct later l;

	(void)none;
	send(p.a, "abcd", 4, 0);
	later(&l, 200, send_late, p.a);
	saw_bytes("all", buffer, recv(p.b, buffer, 8, MSG_WAITALL));
	finished(&l);
	send(p.a, "abcd", 4, 0);
	arrived(p.b, 4);
	saw_bytes("all that is there", buffer, recv(p.b, buffer, 8, MSG_WAITALL | MSG_DONTWAIT));
	timeout(p.b, SO_RCVTIMEO, 200);
	send(p.a, "abcd", 4, 0);
	saw_bytes("until the time is up", buffer, recv(p.b, buffer, 8, MSG_WAITALL));
	send(p.a, "abcd", 4, 0);
	shutdown(p.a, SHUT_WR);
	saw_bytes("until the end", buffer, recv(p.b, buffer, 8, MSG_WAITALL));
	SAW(recv(p.b, buffer, 8, MSG_WAITALL));
}

static void dontwait(const void *none)
{
	struct pair p = connected();
	int on = 1;

	(void)none;
	SAW(recv(p.a, buffer, 1, MSG_DONTWAIT));
	SAW(ioctl(p.a, FIONBIO, &on));
	SAW(recv(p.a, buffer, 1, 0));
	SAW(fcntl(p.a, F_GETFL) & O_NONBLOCK);
	SAW(fcntl(p.b, F_SETFL, O_NONBLOCK));
	SAW(read(p.b, buffer, 1));
	send(p.a, "x", 1, 0);
	arrived(p.b, 1);
	SAW(read(p.b, buffer, 1));
}

static void truncate_stream(const void *none)
{
	struct pair p = connected();

	(void)none;
	send(p.a, "abcdef", 6, 0);
	strcpy(buffer, "----");
	SAW(recv(p.b, buffer, 4, MSG_TRUNC));
	saw("untouched: %.4s", buffer);
	saw_bytes("the rest", buffer, recv(p.b, buffer, 4, 0));
	SAW(recv(p.b, NULL, 4, MSG_TRUNC | MSG_DONTWAIT));
	send(p.a, "abcdef", 6, 0);
	SAW(recv(p.b, NULL, 100, MSG_TRUNC));
}

static void more(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(send(p.a, "abc", 3, MSG_MORE));
	await_ms(p.b, POLLIN, AT_ONCE_MS);
	saw_bytes("at once", buffer, recv(p.b, buffer, 100, MSG_DONTWAIT));
	SAW(send(p.a, "def", 3, 0));
	saw_bytes("with what follows", buffer, recv(p.b, buffer, 100, 0));
}

static void cork(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(set_int(p.a, IPPROTO_TCP, TCP_CORK, 1));
	SAW(send(p.a, "abc", 3, 0));
	await_ms(p.b, POLLIN, AT_ONCE_MS);
	saw_bytes("at once", buffer, recv(p.b, buffer, 100, MSG_DONTWAIT));
	SAW(set_int(p.a, IPPROTO_TCP, TCP_CORK, 0));
	settle();
	saw_bytes("uncorked", buffer, recv(p.b, buffer, 100, MSG_DONTWAIT));
}

static volatile sig_atomic_t pipes_broken;

static void on_pipe(int signal)
{
	pipes_broken += signal == SIGPIPE;
}

static void nosignal(const void *none)
{
	struct pair p = connected();

	(void)none;
	signal(SIGPIPE, on_pipe);
	shutdown(p.a, SHUT_WR);
	SAW(send(p.a, "x", 1, MSG_NOSIGNAL));
	SAW(pipes_broken);
	SAW(send(p.a, "x", 1, 0));
	SAW(pipes_broken);
	SAW(write(p.a, "x", 1));
	SAW(pipes_broken);
}

static void zerocopy(const void *none)
{
	struct pair p = connected();
	char control[200];
	struct msghdr m = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct sock_extended_err *e;
	struct cmsghdr *c;

	(void)none;
	SAW(send(p.a, "plain", 5, MSG_ZEROCOPY));
	SAW(recvmsg(p.a, &m, MSG_ERRQUEUE));
	SAW(set_int(p.a, SOL_SOCKET, SO_ZEROCOPY, 1));
	SAW(send(p.a, "one", 3, MSG_ZEROCOPY));
	SAW(send(p.a, "two", 3, MSG_ZEROCOPY));
	saw_bytes("received", buffer, recv(p.b, buffer, 11, MSG_WAITALL));
	settle();
	saw_events("completions", p.a, POLLIN, 1000);
	m.msg_controllen = sizeof(control);
	SAW(recvmsg(p.a, &m, MSG_ERRQUEUE));
	saw("flags %#x", m.msg_flags);
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		e = (struct sock_extended_err *)CMSG_DATA(c);
		saw("%d %d: errno %u origin %u code %u info %u data %u", c->cmsg_level, c->cmsg_type, e->ee_errno,
		    e->ee_origin, e->ee_code, e->ee_info, e->ee_data);
	}
	saw_events("none left", p.a, POLLIN, 0);
}

static void urgent(const void *none)
{
	struct pair p = connected();
	int mark = -1;

	(void)none;
	SAW(send(p.a, "!", 1, MSG_OOB));
	settle();
	saw_events("urgent", p.b, POLLPRI, 0);
	SAW(ioctl(p.b, SIOCATMARK, &mark));
	SAW(recv(p.b, buffer, 1, MSG_OOB));
	SAW(recv(p.b, buffer, 1, MSG_OOB));
}

static void error_queue(const void *none)
{
	struct pair p = connected();

	(void)none;
	SAW(recv(p.a, buffer, 10, MSG_ERRQUEUE));
}

static uint32_t produced;

static void produce(int fd)
{
	size_t left = 3000000;
	static char bytes[70000];

	while (left > 0) {
		size_t n = left % 7000 + 1 < left ? left % 7000 + 1 : left;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)(left + i * i);
		produced = sum(produced, bytes, (ssize_t)n);
		if (send(fd, bytes, n, 0) != (ssize_t)n)
			return saw("a short send");
		left -= n;
	}
	shutdown(fd, SHUT_WR);
}

static void large(const void *none)
{
	struct pair p = connected();
	struct later l;

	(void)none;
	later(&l, 0, produce, p.a);
	receive_all(p.b);
	finished(&l);
	saw("sent, sum %u", produced);
}

static void drain(int fd)
{
	while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

static void full(const void *none)
{
	static char bytes[1];
	struct pair p = connected();

	(void)none;
	saw("%s was sent", fill(p.a) > 0 ? "something" : "nothing");
	SAW(send(p.a, bytes, 1, MSG_DONTWAIT));
	saw_events("full", p.a, POLLOUT | POLLIN, 100);
	timeout(p.a, SO_SNDTIMEO, 200);
	SAW(send(p.a, bytes, 1, 0));
	for (int i = 0; i < 50 && !(await_ms(p.a, POLLOUT, 100) & POLLOUT); i++)
		drain(p.b); /* there may be more on the way */
	saw_events("drained", p.a, POLLOUT, 0);
	SAW(send(p.a, bytes, 1, MSG_DONTWAIT));
}

static void short_send(const void *none)
{
	static char bytes[64 << 20];
	struct pair p = connected();
	ssize_t n;

	(void)none;
	timeout(p.a, SO_SNDTIMEO, 300);
	n = send(p.a, bytes, sizeof(bytes), 0);
	saw("%s", n > 0 && n < (ssize_t)sizeof(bytes) ? "some were sent" : "all or none");
	fill(p.a);
	SAW(send(p.a, bytes, 1, 0));
}

const struct test moving_tests[] = {
	CASE(read_write), CASE(readv_writev), CASE(send_recv), CASE(sendto_recvfrom), CASE(sendmsg_recvmsg),
	CASE(sendmmsg_recvmmsg), CASE(send_file), CASE(splicing), CASE(peek), CASE(peek_offset), CASE(waitall),
	CASE(dontwait), CASE(truncate_stream), CASE(more), CASE(cork), CASE(nosignal), CASE(zerocopy), CASE(urgent),
	CASE(error_queue), CASE(large), CASE(full), CASE(short_send), END,
};
