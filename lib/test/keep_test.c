/* SPDX-License-Identifier: MIT */
/*
 * The switch and its stand-in, as a front-end sees them: it is killed at a random moment, with all kinds of messages under way, and every request is
 * answered once, in order; what it has told a stand-in that did not listen is true when that does; a front-end that asks all the time keeps
 * nobody waiting; and after a hand-over there is nothing to do any more.
 *
 *     keep_test [seed]      the stand-in's program is beside this one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "front_end.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KILLS 60u
#else
#define KILLS 200u
#endif
#define WAITING 100u /* answers that a front-end waits for at a time */
#define PATIENCE_MS 20000

static char standin[4096];
static int plane;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void begin(void)
{
	plane = csvn_plane_open(1 << 20);
	CHECK(plane >= 0);
	CHECK(csvn_standin_start(plane, (const uint8_t *)standin, (uint32_t)strlen(standin)) == 0);
	front_end_listen(plane);
}

/* The one child that there is. */
static pid_t child(void)
{
	char path[64];
	FILE *f;
	int pid;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	CHECK(f && fscanf(f, "%d", &pid) == 1);
	fclose(f);
	return pid;
}

/* All stand-ins that are left end, and well. */
static void reap(void)
{
	uint64_t began = milliseconds();
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
		CHECK(milliseconds() - began < PATIENCE_MS);
		CHECK(pid == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
		if (pid == 0)
			usleep(1000);
	}
	CHECK(errno == ECHILD);
}

/* Requests of vhost-user, and what is answered. */
enum {
	GET_FEATURES = 1,
	SET_MEM_TABLE = 5,
	SET_NUM = 8,
	SET_BASE = 10,
	GET_BASE = 11,
	SET_PROTOCOL = 16,
	SET_CONFIG = 25
};
#define FEATURES 0x170000000ull

static void reply_to(int session, const struct csvn_event_message *m, const uint8_t *payload)
{
	uint32_t reply[5] = { m->request, 5, 8, 0, 0 };
	uint64_t features = FEATURES;

	if (m->request == GET_FEATURES)
		memcpy(reply + 3, &features, 8);
	else if (m->request == GET_BASE)
		memcpy(reply + 3, payload, 4);
	else if (!(m->flags & 8))
		return;
	CHECK(csvn_session_send(plane, session, (uint8_t *)reply, sizeof(reply), -1) == 0);
}

/* A process that is a switch, until it is killed. */
static void be_switch(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin();
	for (;;) {
		struct csvn_event_message m;
		struct front_end_event e;

		if (!front_end_event(plane, &e)) {
			sched_yield();
			continue;
		}
		if (e.header.kind != CSVN_EVENT_MESSAGE)
			continue;
		memcpy(&m, e.bytes, sizeof(m));
		for (uint32_t i = 0; i < m.descriptors; i++)
			close(m.fds[i]);
		reply_to(e.header.handle, &m, e.bytes + sizeof(m));
	}
}

/* A front-end that has sent messages, and waits for answers to some. */
struct front_end {
	int fd, event;
	uint32_t number; /* of messages */
	uint32_t expected[WAITING][2]; /* request, first word; a ring */
	uint32_t first, waiting;
	uint8_t input[4096], output[8192];
	uint32_t have, size, at; /* in input; in output, of which so much is sent */
	bool brings; /* the message in output brings a descriptor */
};

static void expect(struct front_end *f, uint32_t request, uint32_t word)
{
	uint32_t at = (f->first + f->waiting++) % WAITING;

	CHECK(f->waiting <= WAITING);
	f->expected[at][0] = request;
	f->expected[at][1] = word;
}

static void put_message(struct front_end *f, uint32_t request, uint32_t flags, uint32_t size, uint32_t word)
{
	uint32_t header[3] = { request, flags, size };

	memset(f->output, (int)(f->number & 0xff), sizeof(f->output));
	memcpy(f->output, header, sizeof(header));
	memcpy(f->output + sizeof(header), &word, sizeof(word));
	f->size = (uint32_t)sizeof(header) + size;
	f->at = 0;
	f->brings = request == SET_MEM_TABLE;
	if (request == GET_FEATURES)
		expect(f, request, (uint32_t)FEATURES);
	else if (request == GET_BASE)
		expect(f, request, word);
	else if (flags & 8)
		expect(f, request, 0);
}

static void next_message(struct front_end *f)
{
	uint32_t flags = test_below(2) ? 1 : 9;

	switch (test_below(8)) {
	case 0:
		put_message(f, GET_FEATURES, 1, 0, 0);
		break;
	case 1:
	case 2:
		put_message(f, GET_BASE, 1, 8, f->number);
		break;
	case 3: /* the same again and again */
		put_message(f, GET_BASE, 1, 8, 99);
		break;
	case 4:
		put_message(f, SET_NUM, 1, 8, 5);
		break;
	case 5:
		put_message(f, SET_MEM_TABLE, flags, 40, 1);
		break;
	case 6:
		put_message(f, SET_CONFIG, flags, 12 + test_below(4084), f->number);
		break;
	default:
		put_message(f, SET_BASE, flags, 8, 7);
		break;
	}
	f->number++;
}

/* Send a piece of what is to be sent. */
static void send_piece(struct front_end *f)
{
	uint32_t left, n;

	if (f->at == f->size) {
		if (f->waiting == WAITING)
			return;
		next_message(f);
	}
	left = f->size - f->at;
	n = test_below(3) ? left : 1 + test_below(left);
	front_end_send(f->fd, f->output + f->at, n, f->brings ? f->event : -1);
	f->brings = false;
	f->at += n;
}

/* Take what has come: answers to what was asked, in order. False: nothing has. */
static bool receive(struct front_end *f)
{
	ssize_t n = recv(f->fd, f->input + f->have, sizeof(f->input) - f->have, MSG_DONTWAIT);
	uint32_t at = 0;

	if (n < 0) {
		CHECK(errno == EAGAIN);
		return false;
	}
	CHECK(n > 0);
	f->have += (uint32_t)n;
	while (f->have - at >= 20) {
		const uint32_t *wanted = f->expected[f->first % WAITING];
		uint32_t reply[5];

		memcpy(reply, f->input + at, sizeof(reply));
		if (!f->waiting || reply[0] != wanted[0] || reply[1] != 5 || reply[2] != 8 || reply[3] != wanted[1]) {
			fprintf(stderr, "answer %u, %u of %u bytes: %u; expected: %u of %u, with %u waiting\n",
				reply[0], reply[1], reply[2], reply[3], wanted[1], wanted[0], f->waiting);
			exit(1);
		}
		f->first = (f->first + 1) % WAITING;
		f->waiting--;
		at += 20;
	}
	f->have -= at;
	memmove(f->input, f->input + at, f->have);
	return true;
}

static void receive_all(struct front_end *f)
{
	uint64_t began = milliseconds();

	while (f->waiting) {
		if (!receive(f))
			usleep(100);
		if (milliseconds() - began > PATIENCE_MS) {
			fprintf(stderr, "%u answers do not come, the first to request %u\n", f->waiting,
				f->expected[f->first % WAITING][0]);
			exit(1);
		}
	}
}

static int dial_until_there(void)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&front_end_address, sizeof(front_end_address)) == 0)
			return fd;
		close(fd);
		usleep(1000);
	}
	CHECK(false);
	return -1;
}

static void test_killed(void)
{
	static struct front_end f;

	for (uint32_t i = 0; i < KILLS; i++) {
		uint32_t pieces = test_below(200), pause = test_below(300);
		pid_t pid;

		(void)snprintf(front_end_address.sun_path, sizeof(front_end_address.sun_path), "/tmp/csvn-test-%d.sock",
			       getpid());
		unlink(front_end_address.sun_path);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			be_switch();
		(void)snprintf(front_end_address.sun_path, sizeof(front_end_address.sun_path), "/tmp/csvn-test-%d.sock",
			       pid);
		memset(&f, 0, sizeof(f));
		f.event = eventfd(0, EFD_CLOEXEC);
		f.fd = dial_until_there();
		/* What is not known of the switch cannot be told in its place. */
		put_message(&f, GET_FEATURES, 1, 0, 0);
		front_end_send(f.fd, f.output, f.size, -1);
		put_message(&f, SET_PROTOCOL, 9, 8, 8);
		front_end_send(f.fd, f.output, f.size, -1);
		f.size = f.at = 0;
		receive_all(&f);
		for (uint32_t n = 0; n < pieces; n++) {
			send_piece(&f);
			while (test_below(2) && receive(&f))
				;
		}
		for (uint32_t n = 0; n < pause; n++)
			sched_yield();
		CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
		unlink(front_end_address.sun_path);
		for (uint32_t n = 0; n < 100; n++) {
			send_piece(&f);
			while (receive(&f))
				;
		}
		while (f.at != f.size)
			send_piece(&f);
		receive_all(&f);
		CHECK(f.have == 0 && !receive(&f));
		close(f.fd);
		close(f.event);
		reap();
	}
}

static bool ends(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	return poll(&p, 1, ms) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN;
}

/* The answer to GET_FEATURES comes. */
static bool answers(int fd, int ms)
{
	static const uint32_t ask[3] = { GET_FEATURES, 1, 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t reply[5];

	front_end_send(fd, ask, sizeof(ask), -1);
	return poll(&p, 1, ms) == 1 && recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) &&
	       reply[0] == GET_FEATURES && reply[3] == (uint32_t)FEATURES;
}

/* A front-end that has been answered by the switch. */
static int answered_front_end(int *session)
{
	struct front_end_event e;
	struct csvn_event_message m;
	static const uint32_t ask[3] = { GET_FEATURES, 1, 0 };
	uint32_t reply[5];
	int fd = front_end_dial();

	*session = front_end_await(plane, CSVN_EVENT_ACCEPTED).header.handle;
	front_end_send(fd, ask, sizeof(ask), -1);
	e = front_end_await(plane, CSVN_EVENT_MESSAGE);
	memcpy(&m, e.bytes, sizeof(m));
	reply_to(e.header.handle, &m, e.bytes + sizeof(m));
	CHECK(recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply));
	return fd;
}

/* The stand-in does not run for a while, and hears of more than its socket holds: who came, and who went. */
static void test_late(bool dies)
{
	int session, gone, kept[3], sessions[3];
	pid_t pid;

	begin();
	pid = child();
	kept[0] = answered_front_end(&sessions[0]);
	gone = answered_front_end(&session);
	usleep(100000);
	CHECK(kill(pid, SIGSTOP) == 0);
	kept[1] = answered_front_end(&sessions[1]);
	for (int i = 0; i < 600; i++) {
		int fd = front_end_dial(), other = front_end_await(plane, CSVN_EVENT_ACCEPTED).header.handle;

		close(fd);
		CHECK(front_end_await(plane, CSVN_EVENT_SESSION_END).header.handle == other);
		CHECK(csvn_session_close(plane, other) == 0);
	}
	kept[2] = answered_front_end(&sessions[2]);
	CHECK(csvn_session_close(plane, session) == 0);
	/* The stand-in has another descriptor of it, but it is over. */
	CHECK(ends(gone, PATIENCE_MS));
	if (!dies) {
		CHECK(kill(pid, SIGCONT) == 0);
		/* Two looks at what it was not told. */
		usleep(500000);
		CHECK(csvn_session_close(plane, sessions[0]) == 0 && ends(kept[0], PATIENCE_MS));
	}
	CHECK(csvn_standin_hand_over(plane) == 0 && csvn_plane_close(plane) == 0);
	CHECK(kill(pid, SIGCONT) == 0);
	for (int i = 0; i < 3; i++) {
		if (i == 0 && !dies)
			CHECK(ends(kept[i], 0));
		else if (i < 2 || !dies) /* of the last it may not have heard */
			CHECK(answers(kept[i], PATIENCE_MS));
		close(kept[i]);
	}
	close(gone);
	reap();
}

/* A front-end that asks more than is remembered, and does not wait for its answers, is not served in the switch's place. */
static void test_overrun(void)
{
	static const uint32_t ask[3] = { GET_FEATURES, 1, 0 };
	int session, fd;

	begin();
	fd = answered_front_end(&session);
	for (int i = 0; i < 300; i++) {
		front_end_send(fd, ask, sizeof(ask), -1);
		(void)front_end_await(plane, CSVN_EVENT_MESSAGE);
	}
	CHECK(csvn_standin_hand_over(plane) == 0 && csvn_plane_close(plane) == 0);
	CHECK(ends(fd, PATIENCE_MS));
	close(fd);
	reap();
}

static void *flood(void *arg)
{
	static uint32_t messages[3 * 4096];
	int fd = *(int *)arg;

	for (uint32_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i += 3) {
		messages[i] = 14;
		messages[i + 1] = 1;
	}
	while (send(fd, messages, sizeof(messages), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

/* One front-end never stops sending, from before the stand-in takes over: the others are answered. */
static void test_flood(void)
{
	int sessions[2], fds[2];
	pthread_t thread;

	begin();
	for (int i = 0; i < 2; i++)
		fds[i] = answered_front_end(&sessions[i]);
	CHECK(csvn_standin_hand_over(plane) == 0);
	CHECK(pthread_create(&thread, NULL, flood, &fds[0]) == 0);
	CHECK(csvn_plane_close(plane) == 0);
	for (int i = 0; i < 20; i++)
		CHECK(answers(fds[1], PATIENCE_MS));
	CHECK(shutdown(fds[0], SHUT_RDWR) == 0);
	pthread_join(thread, NULL);
	close(fds[0]);
	close(fds[1]);
	reap();
}

static long used_us(void)
{
	struct rusage u;

	CHECK(getrusage(RUSAGE_SELF, &u) == 0);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

/* After a hand-over nothing is read any more, and nothing is looked at again and again. */
static void test_rest(void)
{
	static const uint32_t half[2] = { GET_FEATURES, 1 };
	int session, fd, pair[2];
	long before;

	begin();
	fd = answered_front_end(&session);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(csvn_backend_attach(plane, session, pair[0]) == 0);
	front_end_send(fd, half, sizeof(half), -1);
	usleep(10000);
	CHECK(csvn_standin_hand_over(plane) == 0);
	front_end_send(pair[1], "x", 1, -1);
	before = used_us();
	usleep(500000);
	CHECK(used_us() - before < 100000);
	CHECK(csvn_plane_close(plane) == 0);
	close(pair[1]);
	close(fd);
	reap();
}

int main(int argc, char **argv)
{
	char *slash;

	test_seed(argc, argv);
	CHECK(strlen(argv[0]) < sizeof(standin) - 32);
	strcpy(standin, argv[0]);
	slash = strrchr(standin, '/');
	strcpy(slash ? slash + 1 : standin, "csvn-standin");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	test_killed();
	test_late(false);
	test_late(true);
	test_overrun();
	test_flood();
	test_rest();
	return 0;
}
