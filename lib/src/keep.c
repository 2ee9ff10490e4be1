/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csvn/keep.h"

static const uint32_t reply_offset[KEEP_REPLIES] = { 0, 16, 32, 64, 512 };

static struct keep_slot *slot_of(const struct plane *p, const struct session *s)
{
	uint32_t i = handle_index(s->handle);

	return p->standin >= 0 && i < KEEP_SLOTS ? (void *)(p->keep_table + (size_t)i * KEEP_SLOT_BYTES) : NULL;
}

/* The stand-in may have died: then this switch has none. It never blocks: the stand-in does nothing but read. */
static void order(struct plane *p, enum keep_order what, uint32_t slot, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct keep_message m = { what, slot };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	(void)sendmsg(p->standin, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void keep_add(struct plane *p, struct session *s)
{
	s->slot = slot_of(p, s);
	if (!s->slot)
		return;
	memset(s->slot, 0, sizeof(*s->slot));
	order(p, KEEP_ADD, handle_index(s->handle), s->front.fd);
}

void keep_drop(struct plane *p, struct session *s)
{
	if (s->slot && p->standin >= 0)
		order(p, KEEP_DROP, handle_index(s->handle), -1);
	s->slot = NULL;
}

static void become(struct keep_slot *slot, enum keep_state state)
{
	/* What the state says is there before it. */
	atomic_signal_fence(memory_order_seq_cst);
	__atomic_store_n(&slot->state, state, __ATOMIC_RELEASE);
}

void keep_before_read(struct session *s)
{
	struct keep_slot *slot = s->slot;
	uint32_t header[3];

	if (!slot || s->front.have ||
	    recv(s->front.fd, header, sizeof(header), MSG_PEEK | MSG_DONTWAIT) != (ssize_t)sizeof(header))
		return;
	slot->have = 0;
	memcpy(slot->header, header, sizeof(header));
	become(slot, KEEP_READING);
}

void keep_after_read(struct session *s, int rc)
{
	struct keep_slot *slot = s->slot;

	if (!slot || rc < 0)
		return;
	if (rc == 0) {
		slot->have = s->front.have;
		memcpy(slot->header, s->front.header, sizeof(slot->header));
		become(slot, s->front.have ? KEEP_READING : slot->state);
		return;
	}
	memcpy(slot->header, s->front.header, sizeof(slot->header));
	memcpy(slot->payload, s->front.payload, sizeof(slot->payload));
	become(slot, keep_wants_reply(slot->header) ? KEEP_TAKEN : KEEP_IDLE);
}

void keep_sent(struct session *s, const uint8_t *bytes, uint32_t count)
{
	struct keep_slot *slot = s->slot;
	uint32_t header[3];
	int known;

	if (!slot || count < sizeof(header))
		return;
	memcpy(header, bytes, sizeof(header));
	known = keep_reply_of(header[0]);
	count -= (uint32_t)sizeof(header);
	if (known >= 0 && count <= (known + 1 < KEEP_REPLIES ? reply_offset[known + 1] : sizeof(slot->replies)) -
					   reply_offset[known]) {
		slot->reply[known].offset = reply_offset[known];
		memcpy(slot->replies + reply_offset[known], bytes + sizeof(header), count);
		slot->reply[known].size = count;
	}
	become(slot, KEEP_IDLE);
}

void keep_end(struct plane *p)
{
	struct session *s;

	if (p->standin < 0)
		return;
	handle_for_each(&p->sessions, i, s) {
		s->handed_over = s->slot != NULL;
		s->slot = NULL;
	}
	close(p->standin);
	p->standin = -1;
	munmap(p->keep_table, (size_t)KEEP_SLOTS * KEEP_SLOT_BYTES);
}

int csvn_standin_hand_over(int plane)
{
	struct plane *p = plane_enter(plane);
	struct session *s;

	if (!p)
		return -EBADF;
	if (p->standin >= 0) {
		/* Two that read from one connection would each have half. */
		handle_for_each(&p->sessions, i, s) {
			watch_drop(p, &s->front_watch);
			s->ended = true;
		}
		keep_end(p);
	}
	plane_leave(p);
	return 0;
}

/* Start the program, with the table and its end of the socket. */
static int start(const char *path, int table, int socket)
{
	char *const arguments[] = { "csvn-standin", NULL }, *const environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid;
	int rc;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, table, KEEP_TABLE_FD);
	posix_spawn_file_actions_adddup2(&actions, socket, KEEP_SOCKET_FD);
	/* Not in the switch's session: what ends that is not to end this. */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	rc = posix_spawn(&pid, path, &actions, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

int csvn_standin_start(int plane, const uint8_t *path, uint32_t path_bytes)
{
	size_t bytes = (size_t)KEEP_SLOTS * KEEP_SLOT_BYTES;
	int table, low, rc, pair[2] = { -1, -1 };
	char text[4096];
	struct plane *p;
	void *memory = MAP_FAILED;

	if (path_bytes == 0 || path_bytes >= sizeof(text) || memchr(path, 0, path_bytes))
		return -EINVAL;
	memcpy(text, path, path_bytes);
	text[path_bytes] = 0;
	low = memfd_create("csvn-keep", MFD_CLOEXEC);
	/* Above the numbers that it has in the stand-in, so that neither takes the other's place there. */
	table = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, 64);
	if (low >= 0)
		close(low);
	rc = table < 0 || ftruncate(table, (off_t)bytes) < 0 ? -errno : 0;
	if (rc == 0) {
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, table, 0);
		if (memory == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			rc = -errno;
	}
	if (rc == 0) {
		int high = fcntl(pair[1], F_DUPFD_CLOEXEC, 64);

		rc = high < 0 ? -errno : start(text, table, high);
		if (high >= 0)
			close(high);
	}
	p = rc == 0 ? plane_enter(plane) : NULL;
	if (rc == 0 && !p)
		rc = -EBADF;
	if (p) {
		if (p->standin >= 0) {
			rc = -EEXIST;
		} else {
			p->standin = pair[0];
			p->keep_table = memory;
			pair[0] = -1;
			memory = MAP_FAILED;
		}
		plane_leave(p);
	}
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	if (memory != MAP_FAILED)
		munmap(memory, bytes);
	if (table >= 0)
		close(table);
	return rc;
}
