/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of a front-end that goes on sharing their files: whatever it does to those, and whatever it sends, neither its port nor a caller of
 * foreign_close() waits for it, and no interrupt is lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "csvn/records.h"
#include "foreign.h"
#include "front_end.h"
#include "interrupt.h"
#include "port_client.h"

#define LOOPBACK 0x7f4d620au /* 127.77.98.10: this test's own */
#define MEMORY 65536u
#define FULL 0xfffffffffffffffeull /* of an eventfd */
#define PATIENCE_S 120 /* until a test that hangs is ended */

static struct interrupter interrupter;
static struct client client;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int memory_file(int seals)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0 && ftruncate(fd, MEMORY) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

/* A socket whose close() waits for twenty seconds, when it is the last: it has bytes that the other end does not take. */
static int slow_socket(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	struct linger linger = { .l_onoff = 1, .l_linger = 20 };
	static uint8_t bytes[1 << 20];
	socklen_t length = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&a, &length) == 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(accept(listener, NULL, NULL) >= 0); /* and it stays open, unread */
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	close(listener);
	return fd;
}

/* Close it: it is closed by now, or somebody else waits for that. */
static void closes_at_once(int fd)
{
	uint64_t began = milliseconds();

	foreign_close(&interrupter, fd);
	CHECK(milliseconds() - began < 5000);
}

static void test_kinds(void)
{
	int pipes[2], pair[2], huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	struct {
		int fd;
		enum foreign kind;
	} files[] = { { memory_file(0), FOREIGN_MEMORY },
		      { memory_file(F_SEAL_SHRINK), FOREIGN_MEMORY },
		      { eventfd(0, EFD_CLOEXEC), FOREIGN_EVENTFD },
		      { eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), FOREIGN_EVENTFD },
		      { timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), FOREIGN_OTHER },
		      { epoll_create1(EPOLL_CLOEXEC), FOREIGN_OTHER },
		      { open("/proc/self/maps", O_RDONLY | O_CLOEXEC), FOREIGN_OTHER },
		      { open("/tmp", O_RDONLY | O_CLOEXEC), FOREIGN_OTHER },
		      { open("/tmp", O_PATH | O_CLOEXEC), FOREIGN_OTHER },
		      { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), FOREIGN_OTHER },
		      { socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), FOREIGN_OTHER },
		      { socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), FOREIGN_OTHER },
		      { socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), FOREIGN_CHANNEL } };

	for (uint32_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		CHECK(files[i].fd >= 0 && foreign_kind(&interrupter, files[i].fd) == files[i].kind);
		closes_at_once(files[i].fd);
	}
	CHECK(pipe2(pipes, O_CLOEXEC) == 0 && foreign_kind(&interrupter, pipes[0]) == FOREIGN_OTHER);
	closes_at_once(pipes[0]);
	close(pipes[1]);
	CHECK(foreign_kind(&interrupter, -1) == FOREIGN_OTHER);
	if (huge >= 0) {
		CHECK(foreign_kind(&interrupter, huge) == FOREIGN_MEMORY);
		closes_at_once(huge);
	}
	/* A channel's other end sees the end, whoever has another descriptor of it. */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	int kept = dup(pair[0]);

	closes_at_once(pair[0]);
	CHECK(recv(pair[1], pipes, 1, 0) == 0);
	close(pair[1]);
	close(kept);
}

/* As the last, or in the queue of a channel that is the last. */
static void test_slow_close(void)
{
	int pair[2], slow = slow_socket();

	closes_at_once(slow);
	slow = slow_socket();
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	front_end_send(pair[1], "x", 1, slow);
	close(slow); /* it is not the last */
	closes_at_once(pair[0]);
	close(pair[1]);
}

static void test_interrupter(void)
{
	struct interrupter i;
	int fd = eventfd(0, EFD_CLOEXEC), other[2];
	eventfd_t count;

	CHECK(interrupter_open(&i) == 0);
	for (uint32_t n = 0; n < 10000; n++)
		CHECK(interrupter_signal(&i, fd) == 0);
	CHECK(eventfd_read(fd, &count) == 0 && count == 10000);
	/* Its room is used up, by whatever. */
	for (uint32_t n = 0; n < 10000; n++) {
		i.unreaped = 0;
		CHECK(interrupter_signal(&i, fd) == 0);
	}
	CHECK(eventfd_read(fd, &count) == 0 && count == 10000);
	CHECK(eventfd_write(fd, FULL) == 0);
	CHECK(interrupter_signal(&i, fd) == 0 && interrupter_signal(&i, fd) == 0);
	CHECK(pipe2(other, O_CLOEXEC) == 0);
	CHECK(interrupter_signal(&i, other[1]) == -EINVAL && interrupter_signal(&i, -1) == -EBADF);
	interrupter_close(&i);
	close(other[0]);
	close(other[1]);
	close(fd);
}

static int set_memory(int fd)
{
	struct csvn_region r = { .size = MEMORY, .token = fd };

	return client_ask(&client, CSVN_COMMAND_MEMORY, 0, 0, &r, sizeof(r));
}

static void test_memory(void)
{
	int sealed = memory_file(F_SEAL_SHRINK), open_ended = memory_file(F_SEAL_GROW);
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB), event = eventfd(0, EFD_CLOEXEC);

	CHECK(set_memory(open_ended) == -EPERM);
	CHECK(set_memory(event) == -EPERM);
	if (huge >= 0 && ftruncate(huge, 64 << 20) == 0) {
		CHECK(fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
		CHECK(set_memory(huge) == -EOPNOTSUPP);
	}
	CHECK(set_memory(sealed) == 0);
	/* The same again is known; another file in its place is looked at. */
	CHECK(set_memory(sealed) == 0);
	CHECK(set_memory(open_ended) == -EPERM);
	CHECK(set_memory(sealed) == 0);
	close(sealed);
	close(open_ended);
	close(event);
	if (huge >= 0)
		close(huge);
}

static struct csvn_queue_setup queue(int kick, int call)
{
	return (struct csvn_queue_setup){ .index = CSVN_QUEUE_EVENT,
					  .size = 16,
					  .avail = 1024,
					  .used = 2048,
					  .kick = fcntl(kick, F_DUPFD_CLOEXEC, 0),
					  .call = call < 0 ? -1 : fcntl(call, F_DUPFD_CLOEXEC, 0) };
}

static int start(int kick, int call)
{
	struct csvn_queue_setup s = queue(kick, call);

	return client_ask(&client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s));
}

static int stop(void)
{
	return client_ask(&client, CSVN_COMMAND_QUEUE_STOP, CSVN_QUEUE_EVENT, 0, NULL, 0);
}

static int set_call(int call)
{
	int token = call < 0 ? -1 : fcntl(call, F_DUPFD_CLOEXEC, 0);

	return client_ask(&client, CSVN_COMMAND_QUEUE_CALL, CSVN_QUEUE_EVENT, (uint32_t)token, NULL, 0);
}

/* What a queue is started with must be eventfds. */
static void test_queue_descriptors(void)
{
	int pipes[2], event = eventfd(0, EFD_CLOEXEC);

	CHECK(pipe2(pipes, O_CLOEXEC) == 0);
	CHECK(start(pipes[0], event) == -EBADF);
	CHECK(start(event, pipes[1]) == -EBADF);
	CHECK(start(event, -1) == 0);
	CHECK(set_call(pipes[1]) == -EBADF);
	CHECK(set_call(event) == 0);
	CHECK(set_call(-1) == 0);
	CHECK(stop() == 0);
	close(pipes[0]);
	close(pipes[1]);
	close(event);
}

static uint16_t *index_of(uint8_t *memory, uint32_t ring)
{
	return (uint16_t *)(void *)(memory + ring + 2);
}

/* One more buffer for an event. */
static void offer(uint8_t *memory)
{
	__atomic_add_fetch(index_of(memory, 1024), 1, __ATOMIC_RELEASE);
}

static uint16_t used(uint8_t *memory)
{
	return __atomic_load_n(index_of(memory, 2048), __ATOMIC_ACQUIRE);
}

/* An event queue, all of whose entries are of one buffer. */
static void lay_out(uint8_t *memory)
{
	struct {
		uint64_t guest;
		uint32_t bytes;
		uint16_t flags, next;
	} buffer = { 32768, 256, 2, 0 };

	memset(memory, 0, MEMORY);
	memcpy(memory, &buffer, sizeof(buffer));
}

static void put_announcement(void)
{
	static const uint8_t event[24];

	client_command(&client, CSVN_COMMAND_ANNOUNCE, 0, 0, event, sizeof(event));
}

/* A front-end clears O_NONBLOCK and fills its eventfd: the next interrupt waits for nobody, and none is lost. */
static void test_full_call(uint8_t *memory)
{
	int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);
	eventfd_t count;

	lay_out(memory);
	CHECK(start(kick, call) == 0);
	for (uint16_t i = 1; i <= 3; i++) {
		uint64_t full = i == 2 ? 0 : FULL;

		offer(memory);
		CHECK(fcntl(call, F_SETFL, 0) == 0);
		if (full)
			CHECK(eventfd_write(call, full) == 0);
		put_announcement();
		CHECK(eventfd_read(call, &count) == 0 && count == full + 1);
	}
	/* Neither does a new one wait that is full. */
	CHECK(eventfd_write(call, FULL) == 0);
	CHECK(set_call(call) == 0);
	client_turn(&client);
	CHECK(stop() == 3);
	close(kick);
	close(call);
}

static atomic_bool ringing;

/* Ring, and take it back at once, so that the data plane finds nothing where something was. */
static void *ring(void *kick)
{
	int fd = *(int *)kick;

	while (atomic_load(&ringing)) {
		eventfd_t count;

		(void)eventfd_write(fd, 1);
		(void)eventfd_read(fd, &count);
	}
	return NULL;
}

/* Does anything want to be looked at? */
static bool is_quiet(void)
{
	struct epoll_event e;

	return epoll_wait(client.port.epoll, &e, 1, 0) == 0;
}

/* Each kick is heard, and no kick is read or written: a full one stays full, an empty one empty, whatever its flags. */
static void test_kicks(uint8_t *memory)
{
	int kick = eventfd(0, EFD_CLOEXEC);
	eventfd_t count = FULL;
	pthread_t thread;
	uint16_t heard;

	lay_out(memory);
	CHECK(eventfd_write(kick, count) == 0);
	CHECK(start(kick, -1) == 0);
	for (int i = 0; i < 3; i++)
		client_turn(&client);
	CHECK(eventfd_read(kick, &count) == 0 && count == FULL);
	for (uint32_t round = 0; round < 2000; round++) {
		heard = used(memory);
		put_announcement();
		client_turn(&client);
		CHECK(used(memory) == heard && is_quiet());
		offer(memory);
		CHECK(eventfd_write(kick, 1) == 0);
		client_turn(&client);
		CHECK(used(memory) == (uint16_t)(heard + 1));
		if (test_below(2))
			CHECK(eventfd_read(kick, &count) == 0);
	}
	/* Nor is one that is full a reason to be busy. */
	CHECK(eventfd_write(kick, 1) == 0);
	client_turn(&client);
	client_turn(&client);
	CHECK(is_quiet() && !client.port.more && !client.port.device.again);
	CHECK(eventfd_read(kick, &count) == 0);
	heard = used(memory);
	for (int round = 0; round < 100; round++) {
		uint64_t began = milliseconds();

		CHECK(fcntl(kick, F_SETFL, 0) == 0);
		atomic_store(&ringing, true);
		CHECK(pthread_create(&thread, NULL, ring, &kick) == 0);
		while (milliseconds() - began < 3)
			client_turn(&client);
		atomic_store(&ringing, false);
		pthread_join(thread, NULL);
		client_turn(&client);
	}
	CHECK(stop() == heard);
	close(kick);
}

/* A message with a descriptor of another kind ends its session, with a line that says so, and nobody waits for its close. */
static void test_session(void)
{
	static const uint32_t kick[5] = { 12, 1, 8, 0, 0 };

	for (int slow = 0; slow < 2; slow++) {
		int front[2], pipes[2], sent;
		uint64_t began = milliseconds();
		struct client_event e;

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front) == 0);
		client_open(&client, front[0]);
		CHECK(pipe2(pipes, O_CLOEXEC) == 0);
		sent = slow ? slow_socket() : pipes[0];
		front_end_send(front[1], kick, sizeof(kick), sent);
		/* The port is to be the last that has it. */
		if (slow)
			close(sent);
		e = client_await(&client, CSVN_EVENT_SESSION_END);
		CHECK(e.header.aux == EBADF && strstr((char *)e.bytes, "descriptor that is neither memory"));
		CHECK(recv(front[1], pipes, 1, 0) <= 0); /* a reset, where it has sent more */
		CHECK(milliseconds() - began < 10000);
		client_close(&client);
		close(front[1]);
		close(pipes[1]);
		if (!slow)
			close(pipes[0]);
	}
}

static int attach(int token)
{
	return client_ask(&client, CSVN_COMMAND_BACKEND_ATTACH, token, 0, NULL, 0);
}

static void test_backend(void)
{
	int front[2], pair[2], event = eventfd(0, EFD_CLOEXEC);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front) == 0);
	client_open(&client, front[0]);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(attach(event) == -ENOTSOCK);
	CHECK(fcntl(event, F_GETFD) < 0);
	CHECK(attach(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -ENOTSOCK);
	CHECK(attach(pair[0]) == 0);
	/* Its flags are the front-end's. */
	CHECK(fcntl(pair[0], F_SETFL, 0) == 0);
	front_end_send(pair[1], "x", 1, -1);
	for (int i = 0; i < 10; i++)
		client_turn(&client);
	CHECK(!client_find(&client, CSVN_EVENT_BACKEND_END, &(struct client_event){ .bytes = { 0 } }));
	client_close(&client);
	CHECK(recv(pair[1], front, 1, 0) <= 0);
	close(pair[1]);
	close(front[1]);
}

/* All that comes on it is passed on, also what there is no room for at once; then its end, once. */
static void test_backend_messages(void)
{
	struct csvn_event_message m;
	struct client_event e;
	int pair[2];

	client_open(&client, -1);
	for (int round = 0; round < 3; round++) {
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		CHECK(attach(pair[0]) == 0);
		for (uint32_t i = 0; i < 250; i++) {
			uint32_t message[4] = { i, 1, 4, i }, first = i < 20 ? 7 : sizeof(message);

			front_end_send(pair[1], message, first, -1);
			if (i < 20) {
				client_turn(&client);
				front_end_send(pair[1], (uint8_t *)message + first, sizeof(message) - first, -1);
			}
		}
		for (uint32_t i = 0; i < 250; i++) {
			e = client_await(&client, CSVN_EVENT_BACKEND_MESSAGE);
			memcpy(&m, e.bytes, sizeof(m));
			CHECK(m.request == i && m.size == 4 && m.descriptors == 0);
			CHECK(memcmp(e.bytes + sizeof(m), &i, sizeof(i)) == 0);
		}
		if (round == 0) {
			/* Once, also when more is sent to it by then. */
			close(pair[1]);
			client_put(&client, CSVN_COMMAND_BACKEND_SEND, -1, 0, "x", 1);
			client_put(&client, CSVN_COMMAND_BACKEND_SEND, -1, 0, "x", 1);
			CHECK(client_await(&client, CSVN_EVENT_BACKEND_END).header.aux == EPIPE);
			client_command(&client, CSVN_COMMAND_BACKEND_SEND, -1, 0, "x", 1);
			CHECK(client.count == 0);
		}
	}
	/* One that took the place of another did not end. */
	CHECK(recv(pair[1], &e, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	client_turn(&client);
	CHECK(client.count == 0);
	client_close(&client);
	CHECK(recv(pair[1], &e, 1, 0) == 0);
	close(pair[1]);
}

int main(int argc, char **argv)
{
	int file = memory_file(F_SEAL_SHRINK);
	uint8_t *memory;

	test_seed(argc, argv);
	alarm(PATIENCE_S);
	CHECK(interrupter_open(&interrupter) == 0);
	test_kinds();
	test_slow_close();
	test_interrupter();
	client_open(&client, -1);
	test_memory();
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED && set_memory(file) == 0);
	test_queue_descriptors();
	test_full_call(memory);
	test_kicks(memory);
	client_close(&client);
	test_session();
	test_backend();
	test_backend_messages();
	munmap(memory, MEMORY);
	close(file);
	return 0;
}
