/* SPDX-License-Identifier: MIT */
/*
 * What the tests' fake front-end and fake driver need of the system and Deno has not: descriptor passing, memfds, mappings,
 * eventfds; and the C headers' own layouts. Results are >= 0 or -errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "csvn/abi.h"
#include "csvn/records.h"

#define FDS_MAX 32

CSVN_EXPORT int fake_connect(const char *path);
CSVN_EXPORT int fake_socketpair(int *out);
CSVN_EXPORT int fake_send(int fd, const uint8_t *bytes, uint32_t count, const int *fds, uint32_t fd_count);
CSVN_EXPORT int fake_receive(int fd, uint8_t *bytes, uint32_t count, int *passed);
CSVN_EXPORT int fake_memfd(uint64_t bytes, uint32_t sealed);
CSVN_EXPORT int fake_truncate(int fd, uint64_t bytes);
CSVN_EXPORT void *fake_reserve(uint64_t bytes);
CSVN_EXPORT void *fake_map(int fd, uint64_t offset, uint64_t bytes, void *at);
CSVN_EXPORT int fake_unmap(void *at, uint64_t bytes);
CSVN_EXPORT int fake_eventfd(void);
CSVN_EXPORT int fake_eventfd_take(int fd);
CSVN_EXPORT int fake_eventfd_add(int fd);
CSVN_EXPORT int fake_pipe(int *out);
CSVN_EXPORT int fake_duplicate(int fd);
CSVN_EXPORT int fake_close(int fd);
CSVN_EXPORT int fake_lock(int fd);
CSVN_EXPORT int fake_unlock(void);
CSVN_EXPORT int fake_layout(uint32_t index, char *name, uint32_t bytes);
CSVN_EXPORT int fake_abi_layout(uint32_t index, char *name, uint32_t bytes);

int fake_connect(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd < 0 ? -errno : fd;
}

int fake_socketpair(int *out)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) < 0 ? -errno : 0;
}

int fake_send(int fd, const uint8_t *bytes, uint32_t count, const int *fds, uint32_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = count };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd_count > FDS_MAX)
		return -EINVAL;
	if (fd_count) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	return n < 0 ? -errno : (int)n;
}

/* Without waiting; passed gets the one descriptor that came along, or -1. */
int fake_receive(int fd, uint8_t *bytes, uint32_t count, int *passed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = bytes, .iov_len = count };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*passed = -1;
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(passed, CMSG_DATA(c), sizeof(*passed));
	return (int)n;
}

int fake_memfd(uint64_t bytes, uint32_t sealed)
{
	int fd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	if (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return fd;
}

int fake_truncate(int fd, uint64_t bytes)
{
	return ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
}

/* Address space that reads zero, such as a window before anything is mapped. */
void *fake_reserve(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void *fake_map(int fd, uint64_t offset, uint64_t bytes, void *at)
{
	void *got = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd, (off_t)offset);

	return got == MAP_FAILED ? NULL : got;
}

int fake_unmap(void *at, uint64_t bytes)
{
	return munmap(at, bytes) < 0 ? -errno : 0;
}

int fake_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int fake_eventfd_take(int fd)
{
	eventfd_t value;

	return eventfd_read(fd, &value) < 0 ? 0 : (int)value;
}

int fake_eventfd_add(int fd)
{
	return eventfd_write(fd, 1) < 0 ? -errno : 0;
}

int fake_pipe(int *out)
{
	return pipe2(out, O_CLOEXEC) < 0 ? -errno : 0;
}

int fake_duplicate(int fd)
{
	int rc = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return rc < 0 ? -errno : rc;
}

int fake_close(int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

#define SIZE(type)                                        \
	{                                                 \
#type ".size", sizeof(struct csvn_##type) \
	}
#define FIELD(type, field)                                            \
	{                                                             \
#type "." #field, offsetof(struct csvn_##type, field) \
	}
#define VALUE(name)                          \
	{                                    \
#name, (uint32_t)CSVN_##name \
	}

struct layout {
	const char *name;
	uint32_t value;
};

/* Of abi.h. */
static const struct layout abi_layouts[] = {
	SIZE(record),
	FIELD(record, length),
	FIELD(record, kind),
	FIELD(record, handle),
	FIELD(record, aux),
	SIZE(accepted),
	FIELD(accepted, port),
	FIELD(accepted, listener),
	FIELD(accepted, pid),
	FIELD(accepted, uid),
	FIELD(accepted, gid),
	SIZE(event_message),
	FIELD(event_message, request),
	FIELD(event_message, flags),
	{ "event_message.size_", offsetof(struct csvn_event_message, size) }, /* the field, not its bytes */
	FIELD(event_message, descriptors),
	FIELD(event_message, tokens),
	FIELD(event_message, files),
	SIZE(event_control),
	{ "event_control.size_", offsetof(struct csvn_event_control, size) }, /* the field, not its bytes */
	FIELD(event_control, room),
	SIZE(event_done),
	FIELD(event_done, sent),
	FIELD(event_done, received),
	SIZE(host_address),
	FIELD(host_address, family),
	FIELD(host_address, port),
	FIELD(host_address, scope),
	FIELD(host_address, ip),
	SIZE(host_setup),
	FIELD(host_setup, id),
	FIELD(host_setup, arena),
	FIELD(host_setup, ring_size),
	FIELD(host_setup, connection),
	FIELD(host_setup, own_control),
	FIELD(host_setup, peer_control),
	FIELD(host_setup, tx_ring),
	FIELD(host_setup, rx_ring),
	FIELD(host_setup, remote),
	FIELD(host_setup, options),
	SIZE(host_permit),
	FIELD(host_permit, guest),
	FIELD(host_permit, actual),
	FIELD(host_permit, allowed),
	FIELD(host_permit, error),
	FIELD(host_permit, number),
	SIZE(region),
	FIELD(region, guest),
	{ "region.size_", offsetof(struct csvn_region, size) }, /* the field, not its bytes */
	FIELD(region, user),
	FIELD(region, offset),
	FIELD(region, token),
	SIZE(queue_setup),
	FIELD(queue_setup, features),
	FIELD(queue_setup, desc),
	FIELD(queue_setup, used),
	FIELD(queue_setup, avail),
	FIELD(queue_setup, index),
	{ "queue_setup.size_", offsetof(struct csvn_queue_setup, size) }, /* the field, not its bytes */
	FIELD(queue_setup, base),
	FIELD(queue_setup, kick),
	FIELD(queue_setup, call),
	SIZE(route),
	FIELD(route, id),
	FIELD(route, board),
	FIELD(route, mark),
	FIELD(route, own_mark),
	SIZE(board),
	FIELD(board, memory),
	FIELD(board, bell),
	FIELD(board, own_bell),
	FIELD(board, side),
	SIZE(counters),
	FIELD(counters, doorbells),
	FIELD(counters, wakes),
	FIELD(counters, strays),
	FIELD(counters, calls),
	FIELD(counters, requests),
	FIELD(counters, announcements),
	FIELD(counters, stalls),
	FIELD(counters, host_turns),
	FIELD(counters, host_received),
	FIELD(counters, host_sent),
	FIELD(counters, host_dropped),
	FIELD(counters, rests),
	FIELD(counters, busy_polled),
	FIELD(counters, routes),
	FIELD(counters, host_circuits),
	SIZE(wipe),
	FIELD(wipe, offset),
	FIELD(wipe, bytes),
	FIELD(wipe, keep),
	FIELD(wipe, patient),
	SIZE(progress),
	FIELD(progress, done),
	FIELD(progress, delivered),
	FIELD(progress, delivered_resets),
	FIELD(progress, counters),
	VALUE(ABI_VERSION),
	VALUE(MESSAGE_FDS),
	VALUE(MOVED_MAX),
	VALUE(CIRCUITS_MAX),
	VALUE(REVOKE_CIRCUIT),
	VALUE(REVOKE_PERMIT),
	VALUE(EVENT_RESULT),
	VALUE(EVENT_MESSAGE),
	VALUE(EVENT_BACKEND_MESSAGE),
	VALUE(EVENT_SESSION_END),
	VALUE(EVENT_BACKEND_END),
	VALUE(EVENT_CONTROL),
	VALUE(EVENT_DEVICE_FAULT),
	VALUE(EVENT_HOST_CONNECTED),
	VALUE(EVENT_HOST_DONE),
	VALUE(EVENT_HOST_ACCEPTED),
	VALUE(EVENT_HOST_SOURCE),
	VALUE(EVENT_HOST_GONE),
	VALUE(EVENT_SHORT),
	VALUE(EVENT_JAILED),
	VALUE(COMMAND_SEND),
	VALUE(COMMAND_BACKEND_ATTACH),
	VALUE(COMMAND_BACKEND_SEND),
	VALUE(COMMAND_TOKEN_CLOSE),
	VALUE(COMMAND_FILE_CLOSE),
	VALUE(COMMAND_MEMORY),
	VALUE(COMMAND_QUEUE_START),
	VALUE(COMMAND_QUEUE_CALL),
	VALUE(COMMAND_QUEUE_STOP),
	VALUE(COMMAND_REPLY),
	VALUE(COMMAND_ANNOUNCE),
	VALUE(COMMAND_ROUTE),
	VALUE(COMMAND_UNROUTE),
	VALUE(COMMAND_BOARD),
	VALUE(COMMAND_UNBOARD),
	VALUE(COMMAND_ARENA),
	VALUE(COMMAND_UNARENA),
	VALUE(COMMAND_HOST_OPEN),
	VALUE(COMMAND_HOST_FINISH),
	VALUE(COMMAND_HOST_CLOSE),
	VALUE(COMMAND_HOST_OPTIONS),
	VALUE(COMMAND_DATAGRAM_OPEN),
	VALUE(COMMAND_DATAGRAM_PERMIT),
	VALUE(COMMAND_DATAGRAM_FORGET),
	VALUE(COMMAND_LISTEN),
	VALUE(COMMAND_UNLISTEN),
	VALUE(COMMAND_WAIT),
	VALUE(COMMAND_REFUSE),
	VALUE(COMMAND_NOTHING),
	VALUE(COMMAND_END),
	VALUE(COMMAND_WIPE),
	VALUE(PORT_WAITS),
	VALUE(PORT_RUNS),
	VALUE(PORT_ENDED),
};

/* Of records.h and circuit.h. */
static const struct layout layouts[] = {
	SIZE(header),
	FIELD(header, type),
	FIELD(header, version),
	FIELD(header, length),
	FIELD(header, token),
	SIZE(endpoint),
	FIELD(endpoint, family),
	FIELD(endpoint, port),
	FIELD(endpoint, scope),
	FIELD(endpoint, ip),
	SIZE(extents),
	FIELD(extents, arena),
	FIELD(extents, ring_size),
	FIELD(extents, own_control),
	FIELD(extents, peer_control),
	FIELD(extents, tx_ring),
	FIELD(extents, rx_ring),
	SIZE(response),
	FIELD(response, error),
	SIZE(hello),
	FIELD(hello, features),
	FIELD(hello, driver),
	SIZE(hello_response),
	FIELD(hello_response, features),
	FIELD(hello_response, ring_size),
	FIELD(hello_response, max_circuits),
	FIELD(hello_response, max_listeners),
	FIELD(hello_response, magic),
	FIELD(hello_response, identity),
	SIZE(listen),
	FIELD(listen, local),
	FIELD(listen, listener),
	FIELD(listen, backlog),
	FIELD(listen, flags),
	FIELD(listen, protocol),
	SIZE(unlisten),
	FIELD(unlisten, listener),
	SIZE(credit),
	FIELD(credit, listener),
	FIELD(credit, count),
	SIZE(options),
	FIELD(options, set),
	FIELD(options, keep_idle),
	FIELD(options, keep_interval),
	FIELD(options, keep_count),
	FIELD(options, user_timeout),
	FIELD(options, syn_count),
	FIELD(options, send_buffer),
	FIELD(options, receive_buffer),
	FIELD(options, keepalive),
	FIELD(options, service),
	FIELD(options, hops),
	FIELD(options, congestion),
	SIZE(connect),
	FIELD(connect, local),
	FIELD(connect, remote),
	FIELD(connect, protocol),
	FIELD(connect, options),
	SIZE(set_options),
	FIELD(set_options, circuit),
	FIELD(set_options, options),
	SIZE(connect_response),
	FIELD(connect_response, circuit),
	FIELD(connect_response, flags),
	FIELD(connect_response, extents),
	FIELD(connect_response, local),
	SIZE(cancel),
	FIELD(cancel, connect),
	SIZE(close),
	FIELD(close, circuit),
	FIELD(close, flags),
	FIELD(close, sent),
	FIELD(close, received),
	SIZE(arena_request),
	FIELD(arena_request, arena),
	FIELD(arena_request, error),
	SIZE(incoming),
	FIELD(incoming, listener),
	FIELD(incoming, circuit),
	FIELD(incoming, extents),
	FIELD(incoming, remote),
	FIELD(incoming, local),
	FIELD(incoming, flags),
	SIZE(reset),
	FIELD(reset, circuit),
	FIELD(reset, error),
	SIZE(arena_event),
	FIELD(arena_event, arena),
	FIELD(arena_event, offset),
	FIELD(arena_event, length),
	FIELD(arena_event, nonce),
	SIZE(config),
	FIELD(config, magic),
	FIELD(config, version),
	{ "config.size_field", offsetof(struct csvn_config, size) },
	FIELD(config, features),
	FIELD(config, identity),
	SIZE(identity),
	FIELD(identity, ipv4),
	FIELD(identity, gateway4),
	FIELD(identity, prefix4),
	FIELD(identity, prefix6),
	FIELD(identity, ipv6),
	FIELD(identity, gateway6),
	FIELD(identity, name),
	SIZE(datagram),
	{ "datagram.size_field", offsetof(struct csvn_datagram, size) },
	FIELD(datagram, family),
	FIELD(datagram, port),
	FIELD(datagram, scope),
	FIELD(datagram, error),
	FIELD(datagram, ip),
	SIZE(arena_header),
	FIELD(arena_header, magic),
	FIELD(arena_header, nonce),
	FIELD(arena_header, length),
	FIELD(arena_header, ring_size),
	VALUE(MAGIC),
	VALUE(VERSION),
	VALUE(RECORD_MAX),
	VALUE(NAME_MAX),
	VALUE(QUEUES),
	VALUE(QUEUE_CONTROL),
	VALUE(QUEUE_EVENT),
	VALUE(QUEUE_DOORBELL),
	VALUE(QUEUE_WAKE),
	VALUE(REQ_HELLO),
	VALUE(REQ_BYE),
	VALUE(REQ_LISTEN),
	VALUE(REQ_UNLISTEN),
	VALUE(REQ_CREDIT),
	VALUE(REQ_CONNECT),
	VALUE(REQ_CANCEL),
	VALUE(REQ_CLOSE),
	VALUE(REQ_ARENA_PREPARED),
	VALUE(REQ_ARENA_VISIBLE),
	VALUE(REQ_ARENA_RETIRED),
	VALUE(REQ_PING),
	VALUE(REQ_OPTIONS),
	VALUE(EV_INCOMING),
	VALUE(EV_RESET),
	VALUE(EV_ARENA_PREPARE),
	VALUE(EV_ARENA_MAPPED),
	VALUE(EV_ARENA_RETIRE),
	VALUE(FEATURE_STREAM),
	VALUE(FEATURE_HOST),
	VALUE(FEATURE_DATAGRAM),
	VALUE(PROTOCOL_DATAGRAM),
	VALUE(CONNECT_HOST),
	VALUE(OPTION_KEEPALIVE),
	VALUE(OPTION_KEEP_TIMES),
	VALUE(OPTION_USER_TIMEOUT),
	VALUE(OPTION_SYN_COUNT),
	VALUE(OPTION_SERVICE),
	VALUE(OPTION_HOPS),
	VALUE(OPTION_SEND_BUFFER),
	VALUE(OPTION_RECEIVE_BUFFER),
	VALUE(OPTION_CONGESTION),
	VALUE(CONGESTION_MAX),
	VALUE(LISTEN_V6ONLY),
	VALUE(CLOSE_VIOLATION),
	VALUE(PROTOCOL_STREAM),
};

static int tell_layout(const struct layout *layout, char *name, uint32_t bytes)
{
	memset(name, 0, bytes);
	strncpy(name, layout->name, bytes - 1);
	return (int)layout->value;
}

/* The index-th name and value; -ENOENT behind the last. */
/* A file's inode is locked for as long as a write is under way whose source page does not come. One at a time. */
static struct {
	int faults; /* userfaultfd */
	int fd;
	void *page;
	pthread_t thread;
} lock = { .faults = -1 };

static void *write_page(void *arg)
{
	(void)arg;
	return (void *)pwrite(lock.fd, lock.page, 1, 0);
}

/* The file's first byte is written, once it is unlocked. */
int fake_lock(int fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { .len = 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd_msg message;

	lock.fd = fd;
	lock.faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	lock.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uint64_t)(uintptr_t)lock.page;
	if (lock.faults < 0 || lock.page == MAP_FAILED || ioctl(lock.faults, UFFDIO_API, &api) < 0 ||
	    ioctl(lock.faults, UFFDIO_REGISTER, &range) < 0)
		return -errno;
	if (pthread_create(&lock.thread, NULL, write_page, NULL) != 0)
		return -EAGAIN;
	/* It has it when it asks for the page. */
	return read(lock.faults, &message, sizeof(message)) == sizeof(message) ? 0 : -errno;
}

int fake_unlock(void)
{
	struct uffdio_zeropage page = { .range = { (uint64_t)(uintptr_t)lock.page, 4096 } };
	int rc = ioctl(lock.faults, UFFDIO_ZEROPAGE, &page) < 0 ? -errno : 0;

	pthread_join(lock.thread, NULL);
	close(lock.faults);
	munmap(lock.page, 4096);
	return rc;
}

int fake_layout(uint32_t index, char *name, uint32_t bytes)
{
	return index < sizeof(layouts) / sizeof(layouts[0]) ? tell_layout(&layouts[index], name, bytes) : -ENOENT;
}

int fake_abi_layout(uint32_t index, char *name, uint32_t bytes)
{
	return index < sizeof(abi_layouts) / sizeof(abi_layouts[0]) ? tell_layout(&abi_layouts[index], name, bytes)
								    : -ENOENT;
}
