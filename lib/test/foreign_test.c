/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of a front-end that goes on sharing their files: whatever it does to those, and whatever it sends, neither the data plane's
 * thread nor a caller of the library waits for it, and no interrupt is lost.
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
#include "plane.h"

#define LOOPBACK 0x7f4d620au /* 127.77.98.10: this test's own */
#define MEMORY 65536u
#define FULL 0xfffffffffffffffeull /* of an eventfd */
#define PATIENCE_S 120 /* until a test that hangs is ended */

static struct interrupter interrupter;
static int plane;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A call that needs the plane's lock. It comes back, or the alarm does. */
static void call_plane(void)
{
	struct csvn_counters c;

	CHECK(csvn_counters(plane, &c, sizeof(c)) == 0);
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
	CHECK(recv(pair[1], &plane, 1, 0) == 0);
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
	CHECK(foreign_take(fd) == 0 && foreign_take(fd) == 0); /* empty, and blocking */
	CHECK(pipe2(other, O_CLOEXEC) == 0);
	CHECK(interrupter_signal(&i, other[1]) == -EINVAL && interrupter_signal(&i, -1) == -EBADF);
	CHECK(foreign_take(-1) == -EBADF);
	interrupter_close(&i);
	close(other[0]);
	close(other[1]);
	close(fd);
}

static void test_memory(int device)
{
	int sealed = memory_file(F_SEAL_SHRINK), open_ended = memory_file(F_SEAL_GROW);
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB), event = eventfd(0, EFD_CLOEXEC);
	struct csvn_region r = { .size = MEMORY, .fd = open_ended };

	CHECK(csvn_device_memory(plane, device, &r, 1) == -EPERM);
	r.fd = event;
	CHECK(csvn_device_memory(plane, device, &r, 1) == -EPERM);
	if (huge >= 0 && ftruncate(huge, 64 << 20) == 0) {
		CHECK(fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
		r.fd = huge;
		CHECK(csvn_device_memory(plane, device, &r, 1) == -EOPNOTSUPP);
	}
	r.fd = sealed;
	CHECK(csvn_device_memory(plane, device, &r, 1) == 0);
	/* The same again is known; another file in its place is looked at. */
	CHECK(csvn_device_memory(plane, device, &r, 1) == 0);
	r.fd = open_ended;
	CHECK(csvn_device_memory(plane, device, &r, 1) == -EPERM);
	r.fd = sealed;
	CHECK(csvn_device_memory(plane, device, &r, 1) == 0);
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

/* What a queue is started with must be eventfds. */
static void test_queue_descriptors(int device)
{
	int pipes[2], event = eventfd(0, EFD_CLOEXEC);
	struct csvn_queue_setup s;

	CHECK(pipe2(pipes, O_CLOEXEC) == 0);
	s = queue(pipes[0], event);
	CHECK(csvn_queue_start(plane, device, &s) == -EBADF);
	s = queue(event, pipes[1]);
	CHECK(csvn_queue_start(plane, device, &s) == -EBADF);
	s = queue(event, -1);
	CHECK(csvn_queue_start(plane, device, &s) == 0);
	CHECK(csvn_queue_set_call(plane, device, CSVN_QUEUE_EVENT, fcntl(pipes[1], F_DUPFD_CLOEXEC, 0)) == -EBADF);
	CHECK(csvn_queue_set_call(plane, device, CSVN_QUEUE_EVENT, fcntl(event, F_DUPFD_CLOEXEC, 0)) == 0);
	CHECK(csvn_queue_stop(plane, device, CSVN_QUEUE_EVENT) == 0);
	close(pipes[0]);
	close(pipes[1]);
	close(event);
}

/* A front-end clears O_NONBLOCK and fills its eventfd: the next interrupt waits for nobody, and none is lost. */
static void test_full_call(int device, uint8_t *memory)
{
	static const uint8_t event[24];
	struct {
		uint64_t guest;
		uint32_t bytes;
		uint16_t flags, next;
	} buffer = { 32768, 256, 2, 0 };
	int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);
	struct csvn_queue_setup s = queue(kick, call);
	eventfd_t count;

	memset(memory, 0, MEMORY);
	memcpy(memory, &buffer, sizeof(buffer));
	CHECK(csvn_queue_start(plane, device, &s) == 0);
	for (uint16_t i = 1; i <= 3; i++) {
		uint64_t full = i == 2 ? 0 : FULL;

		__atomic_store_n((uint16_t *)(void *)(memory + 1024 + 2), i, __ATOMIC_RELEASE);
		CHECK(fcntl(call, F_SETFL, 0) == 0);
		if (full)
			CHECK(eventfd_write(call, full) == 0);
		CHECK(csvn_device_announce(plane, device, event, sizeof(event)) == 0);
		call_plane();
		CHECK(eventfd_read(call, &count) == 0 && count == full + 1);
	}
	/* Neither does a new one wait that is full. */
	CHECK(eventfd_write(call, FULL) == 0);
	CHECK(csvn_queue_set_call(plane, device, CSVN_QUEUE_EVENT, fcntl(call, F_DUPFD_CLOEXEC, 0)) == 0);
	call_plane();
	CHECK(csvn_queue_stop(plane, device, CSVN_QUEUE_EVENT) == 3);
	close(kick);
	close(call);
}

static atomic_bool ringing;

/* Ring, and take it back at once, so that the data plane finds nothing where something was. */
static void *ring(void *kick)
{
	int fd = *(int *)kick;

	while (atomic_load(&ringing)) {
		(void)eventfd_write(fd, 1);
		(void)foreign_take(fd);
	}
	return NULL;
}

static void test_empty_kick(int device)
{
	int kick = eventfd(0, EFD_CLOEXEC);
	struct csvn_queue_setup s = queue(kick, -1);
	eventfd_t count = FULL;
	pthread_t thread;

	/* Nothing is written to it when it is started. */
	CHECK(eventfd_write(kick, count) == 0);
	CHECK(csvn_queue_start(plane, device, &s) == 0);
	for (int round = 0; round < 200; round++) {
		CHECK(fcntl(kick, F_SETFL, 0) == 0);
		atomic_store(&ringing, true);
		CHECK(pthread_create(&thread, NULL, ring, &kick) == 0);
		usleep(2000);
		atomic_store(&ringing, false);
		pthread_join(thread, NULL);
		call_plane();
	}
	CHECK(csvn_queue_stop(plane, device, CSVN_QUEUE_EVENT) == 0);
	close(kick);
}

/* A message with a descriptor of another kind ends its session, with a line that says so, and nobody waits for its close. */
static void test_session(void)
{
	static const uint32_t kick[5] = { 12, 1, 8, 0, 0 };

	for (int slow = 0; slow < 2; slow++) {
		int fd = front_end_dial(), pipes[2], sent;
		uint64_t began = milliseconds();
		struct front_end_event e;
		struct plane *p;

		CHECK(pipe2(pipes, O_CLOEXEC) == 0);
		sent = slow ? slow_socket() : pipes[0];
		e = front_end_await(plane, CSVN_EVENT_ACCEPTED);
		/* The data plane is to be the last that has it. */
		p = plane_enter(plane);
		front_end_send(fd, kick, sizeof(kick), sent);
		if (slow)
			close(sent);
		plane_leave(p);
		e = front_end_await(plane, CSVN_EVENT_SESSION_END);
		CHECK(e.header.aux == EBADF && strstr((char *)e.bytes, "descriptor that is neither memory"));
		CHECK(csvn_session_close(plane, e.header.handle) == 0);
		CHECK(recv(fd, pipes, 1, 0) <= 0); /* a reset, where it has sent more */
		CHECK(milliseconds() - began < 10000);
		close(fd);
		close(pipes[1]);
		if (!slow)
			close(pipes[0]);
	}
}

static void test_backend(void)
{
	int fd = front_end_dial(), pair[2], event = eventfd(0, EFD_CLOEXEC);
	int session = front_end_await(plane, CSVN_EVENT_ACCEPTED).header.handle;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(csvn_backend_attach(plane, session, event) == -ENOTSOCK);
	CHECK(csvn_backend_attach(plane, session, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -ENOTSOCK);
	CHECK(csvn_backend_attach(plane, session, pair[0]) == 0);
	/* Its flags are the front-end's. */
	CHECK(fcntl(pair[0], F_SETFL, 0) == 0);
	front_end_send(pair[1], "x", 1, -1);
	usleep(10000);
	call_plane();
	CHECK(csvn_session_close(plane, session) == 0);
	close(pair[1]);
	close(fd);
}

int main(int argc, char **argv)
{
	struct csvn_region region = { .size = MEMORY };
	uint8_t *memory;
	int device;

	test_seed(argc, argv);
	alarm(PATIENCE_S);
	CHECK(interrupter_open(&interrupter) == 0);
	test_kinds();
	test_slow_close();
	test_interrupter();
	plane = csvn_plane_open(1 << 20);
	device = csvn_device_open(plane);
	CHECK(plane >= 0 && device >= 0);
	front_end_listen(plane);
	test_memory(device);
	region.fd = memory_file(F_SEAL_SHRINK);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	CHECK(memory != MAP_FAILED && csvn_device_memory(plane, device, &region, 1) == 0);
	test_queue_descriptors(device);
	test_full_call(device, memory);
	test_empty_kick(device);
	test_session();
	test_backend();
	CHECK(csvn_plane_close(plane) == 0);
	munmap(memory, MEMORY);
	close(region.fd);
	return 0;
}
