/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int link_open(struct link *l, int memory, bool brain)
{
	uint8_t *at = mmap(NULL, LINK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	int rc = at == MAP_FAILED ? -errno : 0;

	*l = (struct link){ .wake = -1, .files = -1, .bell = -1 };
	close(memory);
	if (rc < 0)
		return rc;
	l->shared = (void *)at;
	rc = queue_init(&l->commands, at + LINK_QUEUES, LINK_COMMAND_BYTES, brain);
	if (rc == 0)
		rc = queue_init(&l->events, at + LINK_QUEUES + queue_bytes(LINK_COMMAND_BYTES), LINK_EVENT_BYTES, !brain);
	return rc;
}

void link_close(struct link *l)
{
	if (l->shared)
		munmap(l->shared, LINK_BYTES);
	l->shared = NULL;
	if (l->wake >= 0)
		close(l->wake);
	if (l->files >= 0)
		close(l->files);
	if (l->bell >= 0)
		close(l->bell);
	l->wake = l->files = l->bell = -1;
}

void link_tell(struct link *l, const struct csvn_progress *progress, bool news)
{
	struct csvn_link *s = l->shared;

	s->progress.delivered = progress->delivered;
	s->progress.delivered_resets = progress->delivered_resets;
	s->progress.counters = progress->counters;
	__atomic_store_n(&s->progress.done, progress->done, __ATOMIC_RELEASE);
	/* Pairs with the brain's, which says what it waits for and that it sleeps, and then looks. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!news && progress->done < __atomic_load_n(&s->wanted, __ATOMIC_RELAXED))
		return;
	/* There is room: nobody reads it, but it takes for ever to be full. */
	if (queue_rings(&l->events))
		(void)eventfd_write(l->bell, 1);
}

int link_take_file(const struct link *l, int *file, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { file, sizeof(*file) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(l->files, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(*file))
		return -EPIPE;
	c = CMSG_FIRSTHDR(&msg);
	*fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return 1;
}

int link_give_file(const struct link *l, int file, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .align = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { &file, sizeof(file) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	return sendmsg(l->files, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void link_wake(const struct link *l, struct interrupter *i)
{
	/* The port has the same file. It may have filled it, and have had somebody who is not jailed make it block. */
	(void)interrupter_signal(i, l->wake); /* if the kernel has no memory left, a port that does nothing is ended in a while */
}

void link_progress(const struct link *l, struct csvn_progress *out)
{
	const struct csvn_link *s = l->shared;

	/* Of the rest, what was said before this; it may be newer. */
	out->done = __atomic_load_n(&s->progress.done, __ATOMIC_ACQUIRE);
	out->delivered = s->progress.delivered;
	out->delivered_resets = s->progress.delivered_resets;
	out->counters = s->progress.counters;
}

bool link_is_stalled(const struct link *l)
{
	/* Pairs with the port's, which says that it is stalled, and then looks at what was taken. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&l->shared->stalled, __ATOMIC_RELAXED);
}

bool link_park(struct link *l, uint64_t done)
{
	__atomic_store_n(&l->shared->wanted, done, __ATOMIC_RELAXED);
	/* Its fence is between what is said here and what is looked at. */
	if (!queue_sleep(&l->events))
		return false;
	if (__atomic_load_n(&l->shared->progress.done, __ATOMIC_ACQUIRE) < done)
		return true;
	queue_awake(&l->events);
	return false;
}

void link_want(const struct link *l, uint64_t done)
{
	__atomic_store_n(&l->shared->wanted, done, __ATOMIC_RELAXED);
	/* Before a command is put, or the room for one is looked for. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
