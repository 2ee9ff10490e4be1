/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csvn/keep.h"

/* Where each known answer is in replies[], and what is behind the last. */
static const uint32_t reply_offset[KEEP_REPLIES + 1] = { 0, 16, 32, 64, 512, sizeof(((struct keep_slot *)0)->replies) };

static struct keep_slot *slot_of(const struct plane *p, const struct session *s)
{
	uint32_t i = handle_index(s->handle);

	return p->standin >= 0 && i < KEEP_SLOTS ? (void *)(p->keep_table + (size_t)i * KEEP_SLOT_BYTES) : NULL;
}

/* What is written after this is not there before what was written earlier. The kernel ends a process between two instructions. */
static void in_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* The order that makes true for the stand-in what is true of a slot. False: it cannot be given now. */
static bool tell(struct plane *p, uint32_t i)
{
	struct session *s = i < p->sessions.capacity ? p->sessions.slots[i].object : NULL;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct keep_message m = { .order = KEEP_DROP, .slot = i };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (s && s->slot) {
		struct cmsghdr *c;

		m.order = KEEP_ADD;
		m.generation = s->slot->generation;
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &s->front.fd, sizeof(int));
	}
	/* It may have died: then this switch has none. */
	return sendmsg(p->standin, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EPIPE || errno == ECONNRESET;
}

static void set_due(struct plane *p, uint32_t i, bool due)
{
	uint64_t bit = 1ull << i % 64;
	bool was = p->keep_due[i / 64] & bit;

	p->keep_due[i / 64] = due ? p->keep_due[i / 64] | bit : p->keep_due[i / 64] & ~bit;
	p->keep_dues += due - was;
}

static void order(struct plane *p, uint32_t i)
{
	set_due(p, i, !tell(p, i));
	/* The thread is to see to it. */
	if (p->keep_dues && !p->looks)
		(void)eventfd_write(p->wake, 1);
}

void keep_tick(struct plane *p)
{
	for (uint32_t i = 0; i < KEEP_SLOTS && p->keep_dues; i++) {
		if (!(p->keep_due[i / 64] >> i % 64 & 1))
			continue;
		if (!tell(p, i))
			return;
		set_due(p, i, false);
	}
}

void keep_add(struct plane *p, struct session *s)
{
	s->slot = slot_of(p, s);
	if (!s->slot)
		return;
	memset(s->slot, 0, sizeof(*s->slot));
	s->front.reading = &s->slot->reading;
	in_order();
	if (++p->keep_generation == 0)
		p->keep_generation = 1;
	__atomic_store_n(&s->slot->generation, p->keep_generation, __ATOMIC_RELEASE);
	order(p, handle_index(s->handle));
}

void keep_drop(struct plane *p, struct session *s)
{
	if (!s->slot)
		return;
	__atomic_store_n(&s->slot->generation, 0, __ATOMIC_RELEASE);
	s->slot = NULL;
	s->front.reading = &s->front.own;
	order(p, handle_index(s->handle));
}

bool keep_passing(struct session *s)
{
	struct keep_slot *slot = s->slot;
	uint32_t number;

	if (!slot || !keep_wants_reply(s->front.header, s->front.payload, &slot->acknowledges))
		return false;
	number = keep_asked(&slot->reading);
	/* Nobody asks so much without an answer who is worth to be answered when this process is gone. */
	if (((number - slot->answered) & KEEP_NUMBERS) >= KEEP_ASKED) {
		__atomic_store_n(&slot->generation, 0, __ATOMIC_RELEASE);
		return false;
	}
	memcpy(slot->asked[number % KEEP_ASKED].header, s->front.header, KEEP_HEADER);
	memcpy(&slot->asked[number % KEEP_ASKED].first, s->front.payload, sizeof(uint32_t));
	in_order();
	return true;
}

static void keep_reply(struct keep_slot *slot, uint32_t request, const uint8_t *payload, uint32_t bytes)
{
	int known = keep_reply_of(request);

	if (known < 0 || bytes > reply_offset[known + 1] - reply_offset[known])
		return;
	slot->reply[known].size = 0;
	in_order();
	slot->reply[known].offset = reply_offset[known];
	memcpy(slot->replies + reply_offset[known], payload, bytes);
	in_order();
	slot->reply[known].size = bytes;
}

struct mmsghdr *keep_answering(struct session *s, const uint8_t *bytes, uint32_t count)
{
	struct keep_slot *slot = s->slot;
	uint32_t header[3], number, end;

	if (!slot || count < KEEP_HEADER)
		return NULL;
	memcpy(header, bytes, sizeof(header));
	keep_reply(slot, header[0], bytes + KEEP_HEADER, count - KEEP_HEADER);
	/* What was asked earlier and is not answered by now will not be. */
	end = keep_asked(&slot->reading);
	for (number = slot->answered; number != end; number = (number + 1) & KEEP_NUMBERS) {
		if (slot->asked[number % KEEP_ASKED].header[0] != header[0])
			continue;
		slot->answer.moved.msg_len = 0;
		in_order();
		slot->answer_bytes = count;
		slot->answer.before = number;
		in_order();
		return &slot->answer.moved;
	}
	return NULL;
}

void keep_answered(struct session *s, const struct mmsghdr *noted)
{
	if (s->slot && noted)
		__atomic_store_n(&s->slot->answered, (s->slot->answer.before + 1) & KEEP_NUMBERS, __ATOMIC_RELEASE);
}

void keep_end(struct plane *p)
{
	struct session *s;

	if (p->standin < 0)
		return;
	handle_for_each(&p->sessions, i, s) {
		s->handed_over = s->slot != NULL;
		s->slot = NULL;
		s->front.reading = &s->front.own;
	}
	close(p->standin);
	p->standin = -1;
	p->keep_dues = 0;
	memset(p->keep_due, 0, sizeof(p->keep_due));
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
		handle_for_each(&p->sessions, i, s)
			session_rest(p, s);
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
