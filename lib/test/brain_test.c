/* SPDX-License-Identifier: MIT */
/*
 * The brain's side with ports that are processes: front-ends connect, each has a port, messages come and answers go, a port that is killed is told, and what any of
 * this took of descriptors and processes is given back.
 *
 *     brain_test [seed]      the ports' program is beside this one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "front_end.h"
#include "csvn/abi.h"
#include "csvn/circuit.h"
#include "link.h"

#define PATIENCE_MS 60000
#define GET_FEATURES 1u
#define NONE UINT64_MAX
#define FIRST_ID 2000000000u
#define DESCRIPTORS 1000u
#define REST_MS 100 /* between two looks for descriptors */
#define LOUD 1001u /* descriptors of a port that is loud */
#define LOUD_MAX 100000u /* rings */
#define LOUD_MS 200 /* that it is silent */

static char program[4096], own_program[4096]; /* the ports'; this one */
static struct sockaddr_un bell_address = { .sun_family = AF_UNIX }, address = { .sun_family = AF_UNIX };
static int plane, plane_bell, bells; /* bells: who listens for it */
static int32_t rung[1024]; /* ports that are known to have something to say */
static int rung_count;
static uint32_t port_descriptors = DESCRIPTORS;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Connections are closed by a thread that takes its time. */
static void await_descriptors(int count)
{
	uint64_t began = milliseconds();

	while (descriptors() != count) {
		CHECK(milliseconds() - began < PATIENCE_MS);
		usleep(1000);
	}
}

static int listen_at(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 && listen(fd, 64) == 0);
	return fd;
}

static bool is_rung(int port)
{
	for (int i = 0; i < rung_count; i++)
		if (rung[i] == port)
			return true;
	return false;
}

/* There is something within reason: a port that has something to say is noted, the rest is the caller's to look at. */
static void await_plane(void)
{
	struct pollfd p = { .fd = plane_bell, .events = POLLIN };
	char bytes[64];
	int32_t port;
	int n = csvn_ports_hear(plane, &port, 1);

	if (n == -EAGAIN) {
		CHECK(poll(&p, 1, PATIENCE_MS) == 1);
		CHECK(recv(plane_bell, bytes, sizeof(bytes), 0) == 1);
		n = csvn_ports_hear(plane, &port, 1);
	}
	CHECK(n == 0 || n == 1 || n == -EAGAIN);
	if (n == 1 && !is_rung(port)) {
		CHECK(rung_count < (int)(sizeof(rung) / sizeof(rung[0])));
		rung[rung_count++] = port;
	}
}

static const uint8_t *bytes_of(const char *text)
{
	return (const uint8_t *)text;
}

static int open_plane(const char *what)
{
	return csvn_plane_open(bytes_of(what), (uint32_t)strlen(what), bytes_of(bell_address.sun_path),
			       (uint32_t)strlen(bell_address.sun_path), FIRST_ID, port_descriptors);
}

static int listens(void)
{
	return csvn_listen(plane, bytes_of(address.sun_path), (uint32_t)strlen(address.sun_path), 0600);
}

static void begin(const char *what)
{
	plane = open_plane(what);
	CHECK(plane >= 0);
	plane_bell = accept4(bells, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK(plane_bell >= 0);
	rung_count = 0;
	CHECK(listens() >= 0);
}

static void end(void)
{
	CHECK(csvn_plane_close(plane) == 0);
	close(plane_bell);
}

/* A port, as the brain and its front-end have it. */
struct vm {
	int port, front, pid;
	uint64_t given;
};

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static struct csvn_accepted await_accepted(void)
{
	struct csvn_accepted who;

	for (;;) {
		int rc = csvn_accepted_take(plane, &who);

		CHECK(rc >= 0);
		if (rc == 1)
			return who;
		await_plane();
	}
}

static int start(const struct vm *vm)
{
	return csvn_port_start(plane, vm->port);
}

/* It has something to say within reason. */
static void await_rung(const struct vm *vm)
{
	for (;;) {
		for (int i = 0; i < rung_count; i++) {
			if (rung[i] == vm->port) {
				rung[i] = rung[--rung_count];
				return;
			}
		}
		await_plane();
	}
}

/* With a process, which may be any program's. */
static struct vm begin_port(void)
{
	struct vm vm = { .front = dial() };
	struct csvn_accepted who = await_accepted();

	CHECK(who.pid == getpid() && who.uid == getuid() && who.gid == getgid());
	vm.port = who.port;
	CHECK(csvn_port_state(plane, vm.port) == CSVN_PORT_WAITS && csvn_port_pid(plane, vm.port) == -ESRCH);
	CHECK(csvn_port_command(plane, vm.port, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0, 0) == -EBADF);
	CHECK(start(&vm) == 0 && start(&vm) == -EBADF);
	CHECK(csvn_port_state(plane, vm.port) == CSVN_PORT_RUNS);
	vm.pid = csvn_port_pid(plane, vm.port);
	CHECK(vm.pid > 0 && vm.pid != getpid());
	return vm;
}

static void command(struct vm *vm, uint32_t kind, const void *bytes, uint32_t count)
{
	CHECK(csvn_port_command(plane, vm->port, kind, 0, 0, bytes, count, 0) == 0);
	CHECK(csvn_ports_flush(plane) == 0);
	vm->given++;
}

/* Wait for an event, and whatever comes with it; the next ones are none. */
static void await_event(struct vm *vm, uint32_t kind, uint8_t *buffer, uint32_t bytes)
{
	struct csvn_progress progress;
	struct csvn_record r;
	int n;

	for (;;) {
		n = csvn_port_take(plane, vm->port, buffer, bytes, &progress);
		CHECK(n >= 0);
		if (n > 0)
			break;
		await_rung(vm);
	}
	memcpy(&r, buffer, sizeof(r));
	CHECK(r.kind == kind && (int)((r.length + 7) & ~7u) == n);
}

/* It has entered its jail, which it tells first. */
static void await_jailed(struct vm *vm)
{
	uint8_t buffer[1024];

	await_event(vm, CSVN_EVENT_JAILED, buffer, sizeof(buffer));
}

static struct vm boot(void)
{
	struct vm vm = begin_port();

	await_jailed(&vm);
	return vm;
}

/* The same, behind the first one, with which it may come. */
static void await_last(struct vm *vm, uint32_t kind, uint8_t *buffer, uint32_t bytes)
{
	struct csvn_progress progress;
	struct csvn_record r = { .kind = 0 };

	while (r.kind != kind) {
		int n = csvn_port_take(plane, vm->port, buffer, bytes, &progress);

		CHECK(n >= 0);
		if (n == 0)
			await_rung(vm);
		for (int at = 0; at < n; at += (int)((r.length + 7) & ~7u)) {
			memcpy(&r, buffer + at, sizeof(r));
			CHECK(r.kind == kind || r.kind == CSVN_EVENT_JAILED);
		}
	}
}

static void await_done(struct vm *vm)
{
	struct csvn_progress progress;

	CHECK(csvn_port_want(plane, vm->port, vm->given) == 0);
	do {
		await_rung(vm);
		CHECK(csvn_port_progress(plane, vm->port, &progress) == 0);
	} while (progress.done < vm->given);
	CHECK(progress.done == vm->given && csvn_port_want(plane, vm->port, NONE) == 0);
}

/* The front-end asks, the brain answers. */
static void talk(struct vm *vm)
{
	static uint8_t buffer[65536];
	uint32_t ask[3] = { GET_FEATURES, 1, 0 }, reply[5] = { GET_FEATURES, 5, 8, test_below(1u << 30), 0 }, came[5];
	struct csvn_event_message m;

	front_end_send(vm->front, ask, sizeof(ask), -1);
	await_event(vm, CSVN_EVENT_MESSAGE, buffer, sizeof(buffer));
	memcpy(&m, buffer + sizeof(struct csvn_record), sizeof(m));
	CHECK(m.request == GET_FEATURES && m.size == 0 && m.descriptors == 0);
	command(vm, CSVN_COMMAND_SEND, reply, sizeof(reply));
	CHECK(recv(vm->front, came, sizeof(came), MSG_WAITALL) == sizeof(came) && memcmp(came, reply, sizeof(came)) == 0);
	await_done(vm);
}

/* Its end is told, once, and nothing is left of it when it is forgotten. */
static void await_end(struct vm *vm)
{
	struct csvn_progress progress;
	uint8_t buffer[64];
	char byte;
	int32_t signal;
	int ended;

	while ((ended = csvn_ended_take(plane, &signal)) == -EAGAIN)
		await_plane();
	CHECK(ended == vm->port && csvn_ended_take(plane, &signal) == -EAGAIN);
	CHECK(csvn_port_state(plane, vm->port) == CSVN_PORT_ENDED && csvn_port_pid(plane, vm->port) == -ESRCH);
	CHECK(waitpid(vm->pid, NULL, WNOHANG) < 0 && errno == ECHILD); /* it was waited for */
	CHECK(csvn_port_kill(plane, vm->port) == -ESRCH);
	/* What it has told can still be had; nothing more is given to it. */
	CHECK(csvn_port_take(plane, vm->port, buffer, sizeof(buffer), &progress) >= 0 && progress.done == vm->given);
	CHECK(csvn_port_command(plane, vm->port, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0, 0) == -EBADF);
	CHECK(csvn_port_give(plane, vm->port, 0, vm->front) == -EBADF);
	CHECK(csvn_port_forget(plane, vm->port) == 0 && csvn_port_forget(plane, vm->port) == -EBADF);
	CHECK(recv(vm->front, &byte, 1, 0) <= 0);
	close(vm->front);
}

static void finish(struct vm *vm, bool killed)
{
	if (killed) {
		CHECK(csvn_port_kill(plane, vm->port) == 0);
	} else {
		command(vm, CSVN_COMMAND_END, NULL, 0);
	}
	await_end(vm);
}

static void test_one_by_one(void)
{
	int before = descriptors();

	for (int i = 0; i < 50; i++) {
		struct vm vm = boot();

		talk(&vm);
		talk(&vm);
		finish(&vm, i % 2);
		await_descriptors(before);
	}
}

static void test_many(void)
{
	int before = descriptors();
	struct vm vms[20];

	for (int i = 0; i < 20; i++)
		vms[i] = boot();
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 20; i++)
			talk(&vms[i]);
	/* One is killed by somebody else; the others go on. */
	for (int i = 0; i < 20; i++) {
		if (i % 3 == 0) {
			CHECK(kill(vms[i].pid, SIGKILL) == 0);
			await_end(&vms[i]);
		} else {
			finish(&vms[i], i % 3 == 1);
		}
		for (int k = i + 1; k < 20; k++)
			CHECK(csvn_port_state(plane, vms[k].port) == CSVN_PORT_RUNS);
		if (i < 19)
			talk(&vms[i + 1 + (int)test_below((uint32_t)(19 - i))]);
	}
	await_descriptors(before);
}

/* Has a process descriptors besides the usual three, and those from first on that the link has? */
static bool has_others(int pid, int first)
{
	char path[64];
	struct dirent *entry;
	bool others = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	CHECK(d);
	while ((entry = readdir(d))) {
		int fd = atoi(entry->d_name);

		others = others || (fd > STDERR_FILENO && (fd < first || fd >= LINK_DESCRIPTORS));
	}
	closedir(d);
	return others;
}

/* A janitor that has begun. */
static struct vm begin_janitor(void)
{
	struct vm janitor = { .front = -1 };

	janitor.port = csvn_janitor_add(plane);
	CHECK(janitor.port >= 0 && start(&janitor) == 0);
	janitor.pid = csvn_port_pid(plane, janitor.port);
	/* From now on it opens nothing by itself. */
	command(&janitor, CSVN_COMMAND_NOTHING, NULL, 0);
	await_done(&janitor);
	return janitor;
}

static void end_janitor(struct vm *janitor)
{
	int32_t signal;

	command(janitor, CSVN_COMMAND_END, NULL, 0);
	while (csvn_ended_take(plane, &signal) != janitor->port)
		await_plane();
	CHECK(csvn_port_forget(plane, janitor->port) == 0);
}

/* Descriptors that whoever began the switch left open for it are not for the processes that it begins, whatever their numbers are. */
static void test_inherited(void)
{
	int high = fcntl(plane_bell, F_DUPFD, 50), low = fcntl(LINK_FRONT, F_GETFD);
	struct vm janitor;

	CHECK(high >= 0 && low >= 0 && fcntl(LINK_FRONT, F_SETFD, 0) == 0);
	janitor = begin_janitor();
	CHECK(!has_others(janitor.pid, LINK_MEMORY));
	end_janitor(&janitor);
	CHECK(fcntl(LINK_FRONT, F_SETFD, low) == 0);
	close(high);
}

/* A janitor that has no room for an arena loses that one alone. */
static void test_short_janitor(void)
{
	static const int expected[3] = { 0, -EMFILE, 0 };
	struct vm janitor = begin_janitor();
	struct rlimit limit, old;
	struct csvn_progress progress;
	struct csvn_record r;
	uint8_t buffer[512];
	int arena = csvn_arena_create(CSVN_PAGE), results = 0;

	CHECK(arena >= 0 && prlimit(janitor.pid, RLIMIT_NOFILE, NULL, &old) == 0);
	limit = old;
	/* One number is free, LINK_FRONT. */
	limit.rlim_cur = LINK_MEMORY;
	CHECK(prlimit(janitor.pid, RLIMIT_NOFILE, &limit, NULL) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(csvn_port_give(plane, janitor.port, i, arena) == 0);
	for (int i = 0; i < 3; i++) {
		CHECK(csvn_port_command(plane, janitor.port, CSVN_COMMAND_ARENA, i, (uint32_t)i, NULL, 0, 0) == 0);
		if (i == 1)
			CHECK(csvn_port_command(plane, janitor.port, CSVN_COMMAND_UNARENA, 0, 0, NULL, 0, 0) == 0);
	}
	CHECK(csvn_ports_flush(plane) == 0);
	janitor.given += 4;
	await_done(&janitor);
	for (int n; (n = csvn_port_take(plane, janitor.port, buffer, sizeof(buffer), &progress)) > 0;) {
		for (int at = 0; at < n; at += (int)((r.length + 7) & ~7u)) {
			memcpy(&r, buffer + at, sizeof(r));
			CHECK(r.kind == CSVN_EVENT_RESULT && results < 3 && (int)r.aux == expected[results]);
			results++;
		}
	}
	CHECK(results == 3);
	CHECK(prlimit(janitor.pid, RLIMIT_NOFILE, &old, NULL) == 0);
	end_janitor(&janitor);
	close(arena);
}

/* Those that are not admitted, and those that go before they are. */
static void test_forgotten(void)
{
	int before = descriptors();

	for (int i = 0; i < 10; i++) {
		int front = dial();
		struct csvn_accepted who = await_accepted();
		char byte;

		CHECK(csvn_port_kill(plane, who.port) == -ESRCH && csvn_port_forget(plane, who.port) == 0);
		CHECK(recv(front, &byte, 1, 0) == 0);
		close(front);
	}
	for (int i = 0; i < 10; i++) {
		struct vm vm = { .front = dial() };
		uint8_t buffer[512];

		vm.port = await_accepted().port;
		close(vm.front);
		CHECK(start(&vm) == 0);
		vm.pid = csvn_port_pid(plane, vm.port);
		await_last(&vm, CSVN_EVENT_SESSION_END, buffer, sizeof(buffer));
		vm.front = -1; /* it was closed */
		finish(&vm, false);
	}
	await_descriptors(before);
}

/* A socket whose close() waits, since nobody reads what was sent, and by what that is read. */
static int linger(int *reader)
{
	static const uint8_t bytes[65536];
	struct linger long_one = { .l_onoff = 1, .l_linger = 30 };
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(at);

	CHECK(listener >= 0 && fd >= 0 && bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	*reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(*reader >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &long_one, sizeof(long_one)) == 0);
	while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		;
	close(listener);
	return fd;
}

/* One that is not admitted, and has sent what lets its closing wait: that keeps nobody but those behind it. */
static void test_slow_to_close(void)
{
	int before = descriptors(), front = dial(), next, reader, fd = linger(&reader);
	uint32_t ask[3] = { GET_FEATURES, 1, 0 };
	struct csvn_accepted who = await_accepted();
	char byte;

	front_end_send(front, ask, sizeof(ask), fd);
	close(fd);
	CHECK(csvn_port_forget(plane, who.port) == 0 && csvn_port_state(plane, who.port) == -EBADF);
	next = dial();
	usleep(20000);
	CHECK(csvn_accepted_take(plane, &who) == 0);
	close(reader);
	CHECK(csvn_port_forget(plane, await_accepted().port) == 0);
	CHECK(recv(front, &byte, 1, 0) <= 0 && recv(next, &byte, 1, 0) == 0);
	close(front);
	close(next);
	await_descriptors(before);
}

/* However many come to a socket, one at a time waits to be started; the next comes when that was, or was forgotten. Other sockets are not kept. */
static void test_one_at_a_time(void)
{
	struct sockaddr_un second = { .sun_family = AF_UNIX };
	struct csvn_accepted who, none;
	struct vm vm = { .port = -1 };
	int fronts[6], listener, front;

	(void)snprintf(second.sun_path, sizeof(second.sun_path), "/tmp/csvn-brain-test-%d.second", getpid());
	listener = csvn_listen(plane, bytes_of(second.sun_path), (uint32_t)strlen(second.sun_path), 0600);
	CHECK(listener >= 0);
	for (int i = 0; i < 6; i++)
		fronts[i] = dial();
	for (int i = 0; i < 6; i++) {
		who = await_accepted();
		/* What has come since would have been told within that. */
		usleep(20000);
		CHECK(csvn_accepted_take(plane, &none) == 0);
		if (i % 2) {
			CHECK(csvn_port_forget(plane, who.port) == 0);
			continue;
		}
		front = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(front >= 0 && connect(front, (struct sockaddr *)&second, sizeof(second)) == 0);
		none = await_accepted();
		CHECK(none.listener == listener && csvn_port_forget(plane, none.port) == 0);
		close(front);
		vm = (struct vm){ .port = who.port, .front = fronts[i] };
		CHECK(start(&vm) == 0);
		vm.pid = csvn_port_pid(plane, vm.port);
		await_jailed(&vm);
		finish(&vm, false);
	}
	for (int i = 1; i < 6; i += 2)
		close(fronts[i]);
	CHECK(csvn_unlisten(plane, listener) == 0);
}

/* Processes that are let go of go on for their front-ends, and leave nothing behind when those go. */
static void test_let_go(bool closes)
{
	int32_t signal;
	uint32_t ask[3] = { GET_FEATURES, 1, 0 }, reply[5];
	uint64_t began = milliseconds();
	struct vm vm = boot();
	int status;
	pid_t pid;

	talk(&vm);
	if (closes)
		end();
	else
		CHECK(csvn_port_forget(plane, vm.port) == 0);
	front_end_send(vm.front, ask, sizeof(ask), -1);
	CHECK(recv(vm.front, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) && reply[0] == GET_FEATURES);
	close(vm.front);
	if (closes) {
		while ((pid = waitpid(vm.pid, &status, WNOHANG)) == 0) {
			CHECK(milliseconds() - began < PATIENCE_MS);
			usleep(1000);
		}
		CHECK(pid == vm.pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
		begin(program);
		return;
	}
	/* The plane waits for it, so that no dead process is left. */
	while (kill(vm.pid, 0) == 0) {
		CHECK(milliseconds() - began < PATIENCE_MS);
		usleep(1000);
	}
	CHECK(errno == ESRCH && csvn_ended_take(plane, &signal) == -EAGAIN);
}

/* A program that cannot be started: the caller is told, the front-end is closed, and the rest goes on. */
static void test_no_program(void)
{
	int before;

	end();
	before = descriptors();
	begin("/nonexistent/csvn-port");
	for (int i = 0; i < 5; i++) {
		struct vm vm = { .front = dial() };
		char byte;

		vm.port = await_accepted().port;
		CHECK(start(&vm) == -ENOENT);
		CHECK(csvn_port_state(plane, vm.port) == CSVN_PORT_ENDED);
		CHECK(csvn_port_forget(plane, vm.port) == 0);
		CHECK(recv(vm.front, &byte, 1, 0) == 0);
		close(vm.front);
	}
	end();
	await_descriptors(before);
	/* Nor is a plane without its bell. */
	CHECK(csvn_plane_open(bytes_of(program), (uint32_t)strlen(program), bytes_of("/nonexistent/bell"), 17,
			      FIRST_ID, DESCRIPTORS) == -ENOENT);
	await_descriptors(before);
	begin(program);
}

/*
 * What a port does whose guest has taken it over, and has somebody outside of its jail to give its descriptors to. It seems to sleep, so that it is
 * woken again and again.
 */
static int be_hostile(void)
{
	uint64_t full = UINT64_MAX - 1;
	struct link l;

	if (link_open(&l, LINK_MEMORY, false) < 0)
		return 1;
	__atomic_store_n(&l.commands.shared->asleep, 1, __ATOMIC_SEQ_CST);
	/* Descriptors that lie in the brain's socket would be closed by the brain's thread, for however long that takes. */
	if (send(LINK_FILES, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EPIPE)
		return 1;
	/* The files' flags are the brain's as well. */
	for (int i = 0; i < 2; i++) {
		int fd = i ? LINK_BELL : LINK_WAKE;

		if (fcntl(fd, F_SETFL, 0) < 0 || write(fd, &full, sizeof(full)) != sizeof(full))
			return 1;
	}
	/* Nothing that would bring descriptors. */
	if (send(LINK_BELL, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != ENOTSOCK)
		return 1;
	/* It is ready. */
	__atomic_store_n(&l.shared->progress.delivered, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		__atomic_store_n(&l.commands.shared->asleep, 1, __ATOMIC_SEQ_CST);
		usleep(100);
	}
}

/* A port that rings without end, and says nothing. */
static int be_loud(void)
{
	struct pollfd brain = { .fd = LINK_FILES };

	for (uint32_t i = 0;; i++) {
		if (eventfd_write(LINK_BELL, 1) < 0)
			return 1;
		if (i % 1024 == 0 && poll(&brain, 1, 0) == 1)
			return 0;
	}
}

/* The eventfd by which a port is woken is full, and blocks whoever writes to it: the brain goes on. Nor is anything sent to it where it does not look. */
static void test_hostile_port(void)
{
	struct csvn_progress progress;
	struct vm vm;

	end();
	begin(own_program);
	alarm(PATIENCE_MS / 1000);
	vm = begin_port();
	do {
		CHECK(csvn_port_progress(plane, vm.port, &progress) == 0);
	} while (progress.delivered == 0);
	for (int i = 0; i < 100; i++)
		command(&vm, CSVN_COMMAND_NOTHING, NULL, 0);
	alarm(0);
	vm.given = 0; /* it has done none */
	finish(&vm, true);
	end();
	begin(program);
}

/* How often does it wake the brain, at once, for nothing? */
static uint32_t count_rings(uint32_t most)
{
	struct pollfd p = { .fd = plane_bell, .events = POLLIN };
	uint32_t rings = 0;
	int32_t port;
	char byte;
	int n;

	for (; rings < most; rings++) {
		while ((n = csvn_ports_hear(plane, &port, 1)) == 0)
			;
		CHECK(n == -EAGAIN);
		if (poll(&p, 1, LOUD_MS) == 0)
			break;
		/* One byte for each time that the brain has slept. */
		CHECK(recv(plane_bell, &byte, 1, 0) == 1 && recv(plane_bell, &byte, 1, 0) < 0 && errno == EAGAIN);
	}
	return rings;
}

/* One that says nothing for long, while another one always has something to say, is heard all the same when it does. */
static void test_quiet_port(void)
{
	uint32_t ask[3] = { GET_FEATURES, 1, 0 };
	struct vm loud = boot(), quiet = boot();
	uint8_t buffer[512];
	int32_t port;

	alarm(PATIENCE_MS / 1000);
	front_end_send(loud.front, ask, sizeof(ask), -1);
	await_rung(&loud);
	for (int i = 0; i < 1000; i++)
		CHECK(csvn_ports_hear(plane, &port, 1) == 1 && port == loud.port);
	rung_count = 0; /* what was noted before it was quiet */
	talk(&quiet);
	alarm(0);
	await_event(&loud, CSVN_EVENT_MESSAGE, buffer, sizeof(buffer));
	finish(&quiet, false);
	finish(&loud, false);
}

/* A port that rings without end is heard a thousand times, and then after a while again. */
static void test_loud_port(void)
{
	struct vm vm;

	end();
	port_descriptors = LOUD;
	begin(own_program);
	vm = begin_port();
	for (int i = 0; i < 3; i++) {
		CHECK(count_rings(LOUD_MAX) < LOUD_MAX);
		await_plane();
	}
	finish(&vm, true);
	end();
	port_descriptors = DESCRIPTORS;
	begin(program);
}

/* One of a path, and the path of one that is dead; nothing of it is left. */
static void test_paths(void)
{
	int listener;

	CHECK(listens() == -EADDRINUSE);
	end();
	CHECK(access(address.sun_path, F_OK) < 0);
	/* A socket that nobody listens at any more. */
	close(listen_at(&address));
	begin(program);
	CHECK(csvn_listen(plane, bytes_of("a\0b"), 3, 0600) == -EINVAL && csvn_listen(plane, bytes_of(""), 0, 0600) == -EINVAL);
	CHECK(csvn_listen(plane, (uint8_t *)program, sizeof(address.sun_path), 0600) < 0);
	CHECK(csvn_listen(plane + 1, bytes_of("x"), 1, 0600) == -EBADF);
	listener = csvn_listen(plane, bytes_of(bell_address.sun_path), (uint32_t)strlen(bell_address.sun_path), 0600);
	CHECK(listener == -EADDRINUSE);
}

static void set_limit(rlim_t limit)
{
	struct rlimit now;

	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
	now.rlim_cur = limit;
	CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
}

static void await_short(int error)
{
	while (csvn_plane_short(plane) != error)
		await_plane();
}

/* The listening socket rests while descriptors are short, and then serves those that have waited. */
static void test_short(void)
{
	struct csvn_accepted who;
	int fronts[5], taken = 0, before = descriptors(), top;
	struct rlimit old;

	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0 && csvn_plane_short(plane) == 0);
	for (int i = 0; i < 5; i++)
		fronts[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	top = fcntl(plane_bell, F_DUPFD_CLOEXEC, 0);
	set_limit((rlim_t)top + 3);
	for (int i = 0; i < 5; i++)
		CHECK(connect(fronts[i], (struct sockaddr *)&address, sizeof(address)) == 0);
	await_short(EMFILE);
	usleep(5 * REST_MS * 1000);
	CHECK(csvn_plane_short(plane) == EMFILE);
	/* One more at most; the process can still open its files. */
	while (csvn_accepted_take(plane, &who) == 1) {
		taken++;
		CHECK(csvn_port_forget(plane, who.port) == 0);
	}
	CHECK(taken <= 1);
	close(fcntl(top, F_DUPFD_CLOEXEC, 0));
	set_limit(old.rlim_cur);
	await_short(0);
	for (; taken < 5; taken++)
		CHECK(csvn_port_forget(plane, await_accepted().port) == 0);
	for (int i = 0; i < 5; i++)
		close(fronts[i]);
	close(top);
	await_descriptors(before);
}

/* As many descriptors as a start needs, and any number less: it is done, or nothing of it is left. */
static void test_short_start(void)
{
	int before = descriptors(), started = 0;
	struct rlimit old;

	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	for (rlim_t room = 0; started < 2; room++) {
		struct vm vm = { .front = dial() };
		char byte;
		int top, rc;

		vm.port = await_accepted().port;
		top = fcntl(plane_bell, F_DUPFD_CLOEXEC, 0);
		close(top);
		set_limit((rlim_t)top + room);
		rc = start(&vm);
		set_limit(old.rlim_cur);
		CHECK(room < 30);
		if (rc == 0) {
			started++;
			vm.pid = csvn_port_pid(plane, vm.port);
			await_jailed(&vm);
			talk(&vm);
			finish(&vm, started == 1);
			continue;
		}
		CHECK(rc == -EMFILE && csvn_port_state(plane, vm.port) == CSVN_PORT_ENDED && started == 0);
		CHECK(csvn_port_forget(plane, vm.port) == 0);
		CHECK(recv(vm.front, &byte, 1, 0) == 0);
		close(vm.front);
		CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
		await_descriptors(before);
	}
	await_descriptors(before);
}

int main(int argc, char **argv)
{
	char *slash;
	int before;

	if (argc == 3)
		return strtoul(argv[2], NULL, 10) == LOUD ? be_loud() : be_hostile();
	test_seed(argc, argv);
	CHECK(strlen(argv[0]) < sizeof(program) - 32);
	strcpy(own_program, argv[0]);
	strcpy(program, argv[0]);
	slash = strrchr(program, '/');
	strcpy(slash ? slash + 1 : program, "csvn-port");
	(void)snprintf(bell_address.sun_path, sizeof(bell_address.sun_path), "/tmp/csvn-brain-test-%d.bell", getpid());
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/csvn-brain-test-%d.sock", getpid());
	bells = listen_at(&bell_address);
	before = descriptors();
	CHECK(csvn_abi_version() == CSVN_ABI_VERSION);
	begin(program);
	test_one_by_one();
	test_many();
	test_inherited();
	test_short_janitor();
	test_forgotten();
	test_slow_to_close();
	test_one_at_a_time();
	test_let_go(true);
	test_let_go(false);
	test_no_program();
	test_quiet_port();
	test_hostile_port();
	test_loud_port();
	test_paths();
	test_short();
	test_short_start();
	end();
	await_descriptors(before);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	close(bells);
	unlink(bell_address.sun_path);
	return 0;
}
