/* SPDX-License-Identifier: MIT */
/* One socket, several threads and processes: fork(), exec(), SCM_RIGHTS, and flags that change under a call. */
#define _GNU_SOURCE
#include "sockets.h"

#include <signal.h>

static char buffer[1 << 16];

struct reader {
	pthread_t thread;
	int fd;
	uint64_t count;
	uint64_t sum;
};

static void *read_numbers(void *argument)
{
	struct reader *r = argument;
	uint64_t number;

	/* Eight bytes at a time are sent and published as one. */
	while (recv(r->fd, &number, sizeof(number), MSG_WAITALL) == sizeof(number)) {
		r->count++;
		r->sum += number;
	}
	return NULL;
}

static void readers(const void *none)
{
	struct pair p = connected();
	struct reader r[4];
	uint64_t count = 0, sum = 0;

	(void)none;
	for (int i = 0; i < 4; i++) {
		r[i] = (struct reader){ .fd = p.b };
		pthread_create(&r[i].thread, NULL, read_numbers, &r[i]);
	}
	for (uint64_t n = 0; n < 2000; n++)
		MUST(send(p.a, &n, sizeof(n), 0));
	shutdown(p.a, SHUT_WR);
	for (int i = 0; i < 4; i++) {
		pthread_join(r[i].thread, NULL);
		count += r[i].count;
		sum += r[i].sum;
	}
	saw("four threads have read %lu numbers, sum %lu", count, sum);
}

static void *write_letters(void *argument)
{
	int fd = ((struct reader *)argument)->fd;
	char letters[16];

	memset(letters, (int)((struct reader *)argument)->sum, sizeof(letters));
	for (int i = 0; i < 500; i++)
		MUST(send(fd, letters, sizeof(letters), 0));
	return NULL;
}

static void writers(const void *none)
{
	struct pair p = connected();
	struct reader r[4];
	int torn = 0, counts[4] = { 0 };
	char letters[16];

	(void)none;
	for (int i = 0; i < 4; i++) {
		r[i] = (struct reader){ .fd = p.a, .sum = (uint64_t)('a' + i) };
		pthread_create(&r[i].thread, NULL, write_letters, &r[i]);
	}
	for (int n = 0; n < 2000; n++) {
		MUST(recv(p.b, letters, sizeof(letters), MSG_WAITALL));
		counts[letters[0] - 'a']++;
		for (int i = 1; i < 16; i++)
			torn += letters[i] != letters[0];
	}
	for (int i = 0; i < 4; i++)
		pthread_join(r[i].thread, NULL);
	saw("%d %d %d %d, torn %d", counts[0], counts[1], counts[2], counts[3], torn);
}

static void echo(int fd)
{
	ssize_t n;

	while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		send(fd, buffer, (size_t)n, 0);
}

static void duplex(const void *none)
{
	static char sent[200000], got[200000];
	struct pair p = connected();
	struct later l, s;
	size_t n = 0;

	(void)none;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 13);
	later(&l, 0, echo, p.b);
	later(&s, 0, send_late, p.a);
	finished(&s);
	MUST(recv(p.a, got, 4, MSG_WAITALL));
	for (size_t done = 0; done < sizeof(sent); done += 10000) {
		MUST(send(p.a, sent + done, 10000, 0));
		n += (size_t)MUST(recv(p.a, got + done, 10000, MSG_WAITALL));
	}
	shutdown(p.a, SHUT_WR);
	finished(&l);
	saw("%zu bytes came back, the same: %d", n, memcmp(sent, got, sizeof(sent)) == 0);
}

static void forked(const void *none)
{
	struct pair p = connected();
	pid_t child = fork();

	(void)none;
	if (child == 0) {
		saw_bytes("the child", buffer, recv(p.b, buffer, 5, 0));
		did("the child sends", send(p.b, "child", 5, 0));
		_exit(0);
	}
	MUST(send(p.a, "hello", 5, 0));
	waitpid(child, NULL, 0);
	saw_bytes("received", buffer, recv(p.a, buffer, 10, 0));
	SAW(recv(p.a, buffer, 10, MSG_DONTWAIT));
	SAW(send(p.b, "parent", 6, 0));
	saw_bytes("received", buffer, recv(p.a, buffer, 10, 0));
	close(p.b);
	await(p.a, POLLIN);
	SAW(recv(p.a, buffer, 10, 0));
}

static void killed(const void *none)
{
	int l = listener(8);
	struct sockaddr_in to = name_of(l);
	pid_t child = fork();
	int b;

	(void)none;
	if (child == 0) {
		int fd = dial(&to);

		send(fd, "x", 1, 0);
		pause();
	}
	b = (int)MUST(accept(l, NULL, NULL));
	saw_bytes("received", buffer, recv(b, buffer, 1, MSG_WAITALL));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	saw_events("killed", b, POLLIN | POLLRDHUP, 5000);
	SAW(recv(b, buffer, 1, 0));
}

static void executed(const void *none)
{
	struct pair p = connected(), q = connected();
	char number[16];
	pid_t child;

	(void)none;
	MUST(fcntl(q.b, F_SETFD, FD_CLOEXEC));
	snprintf(number, sizeof(number), "%d", p.b);
	child = fork();
	if (child == 0) {
		close(q.a);
		execl(program, program, "--child", number, (char *)NULL);
		_exit(1);
	}
	close(p.b);
	close(q.b);
	waitpid(child, NULL, 0);
	saw_bytes("received", buffer, recv(p.a, buffer, 10, 0));
	SAW(recv(p.a, buffer, 10, 0));
	SAW(recv(q.a, buffer, 10, 0));
}

static void pass(int through, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	MUST(sendmsg(through, &m, 0));
}

static int take(int through)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int fd;

	MUST(recvmsg(through, &m, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void passed(const void *none)
{
	int l = listener(8), through[2], b;
	struct sockaddr_in to = name_of(l);
	struct pair p = connected();
	pid_t child;

	(void)none;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, through));
	pass(through[0], p.b);
	pass(through[0], l);
	close(p.b);
	close(l);
	child = fork();
	if (child == 0) {
		did("sends", send(take(through[1]), "passed", 6, 0));
		b = accept(take(through[1]), NULL, NULL);
		did("accepts", b >= 0);
		did("sends", send(b, "accepted", 8, 0));
		_exit(0);
	}
	b = dial(&to);
	waitpid(child, NULL, 0);
	saw_bytes("received", buffer, recv(p.a, buffer, 10, 0));
	saw_bytes("received", buffer, recv(b, buffer, 10, 0));
}

static void passed_and_dropped(const void *none)
{
	struct pair p = connected();
	int through[2];

	(void)none;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, through));
	pass(through[0], p.b);
	close(p.b);
	SAW(recv(p.a, buffer, 1, MSG_DONTWAIT));
	close(through[0]);
	close(through[1]);
	saw_events("dropped unseen", p.a, POLLIN | POLLRDHUP, 5000);
	SAW(recv(p.a, buffer, 1, 0));
}

static void make_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void nonblocking_meanwhile(const void *none)
{
	struct pair p = connected();
	struct later l, s;

	(void)none;
	later(&l, 100, make_nonblocking, p.a);
	later(&s, 300, send_late, p.b);
	saw_bytes("a call that waits goes on", buffer, recv(p.a, buffer, 10, 0));
	finished(&l);
	finished(&s);
	SAW(recv(p.a, buffer, 10, 0));
	MUST(fcntl(p.a, F_SETFL, 0));
	later(&s, 100, send_late, p.b);
	saw_bytes("and back", buffer, recv(p.a, buffer, 10, 0));
	finished(&s);
}

static void *receive_once(void *argument)
{
	struct reader *r = argument;
	char byte;

	r->count = recv(r->fd, &byte, 1, 0) == 1;
	return NULL;
}

/* A byte at a time wakes one of those that wait; the end wakes all. */
static void waiting_readers(const void *none)
{
	struct pair p = connected();
	struct reader r[5];
	uint64_t got = 0;

	(void)none;
	for (int i = 0; i < 5; i++) {
		r[i] = (struct reader){ .fd = p.b };
		pthread_create(&r[i].thread, NULL, receive_once, &r[i]);
	}
	settle();
	for (int i = 0; i < 3; i++) {
		send(p.a, "x", 1, 0);
		settle();
	}
	shutdown(p.a, SHUT_WR);
	for (int i = 0; i < 5; i++) {
		pthread_join(r[i].thread, NULL);
		got += r[i].count;
	}
	saw("three of five got a byte: %d", got == 3);
}

/* Processes that wait in accept(): each connection goes to one. */
static void crowd(const void *none)
{
	int l = listener(64), results[2], counts[10] = { 0 }, most = 0, total = 0;
	struct sockaddr_in to = name_of(l);

	(void)none;
	MUST(pipe(results));
	for (int i = 0; i < 10; i++) {
		if (fork() == 0) {
			for (int b; (b = accept(l, NULL, NULL)) >= 0; close(b))
				MUST(write(results[1], &i, sizeof(i)));
			_exit(0);
		}
	}
	settle();
	for (int i = 0; i < 30; i++) {
		int who, fd = dial(&to);

		MUST(read(results[0], &who, sizeof(who)));
		counts[who]++;
		close(fd);
	}
	for (int i = 0; i < 10; i++) {
		total += counts[i];
		most = counts[i] > most ? counts[i] : most;
	}
	saw("%d were accepted, by one alone: %d", total, most == total);
	shutdown(l, SHUT_RD);
	while (wait(NULL) > 0)
		;
	saw("all have ended");
}

/* How often a process has been woken. */
static long wakes(pid_t child)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char path[64], text[4096];
	const char *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", child);
	fd = (int)MUST(open(path, O_RDONLY));
	text[MUST(read(fd, text, sizeof(text) - 1))] = 0;
	close(fd);
	at = strstr(text, key);
	return at ? atol(at + sizeof(key) - 1) : 0;
}

/* One connection wakes one of those that wait for it, not all. */
static void one_is_woken(const void *none)
{
	int l = listener(64);
	struct sockaddr_in to = name_of(l);
	long before = 0, after = 0;
	pid_t children[20];

	(void)none;
	for (int i = 0; i < 20; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			while (accept(l, NULL, NULL) >= 0)
				;
			_exit(0);
		}
	}
	nap(500);
	for (int i = 0; i < 20; i++)
		before += wakes(children[i]);
	dial(&to);
	nap(500);
	for (int i = 0; i < 20; i++)
		after += wakes(children[i]);
	saw("%s were woken", after == before ? "none" : after - before < 10 ? "few" : "many");
	shutdown(l, SHUT_RD);
	while (wait(NULL) > 0)
		;
}

const struct test sharing_tests[] = {
	CASE(readers), CASE(writers), CASE(waiting_readers), CASE(duplex), CASE(forked), CASE(killed), CASE(executed), CASE(passed),
	CASE(passed_and_dropped), CASE(nonblocking_meanwhile), CASE(crowd), CASE(one_is_woken), END,
};
