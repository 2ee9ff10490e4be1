/* SPDX-License-Identifier: MIT */
/*
 * csvn-janitor: zeroes what was used of arenas, in a process of its own. Whoever has an arena can hold its inode's lock for as long as they like (by a write whose
 * source page does not come), and a process that waits for that cannot even be killed. It is started by the helper library with what link.h says, but for a
 * front-end, and ends with the switch. It reads nothing that a guest has written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "csvn/abi.h"
#include "handle.h"
#include "link.h"
#include "toll.h"
#include "wipe.h"

#define ARENAS_MAX (1u << 20)
#define RESULT_NUMBERS 0x7fffffffu
#define FOR_EVER (-1)

struct arena {
	int fd;
	struct toll toll;
};

static struct link brain;
static struct handle_table arenas;
static struct csvn_progress progress;

/* Until the brain wakes it. False: the brain is gone. */
static bool sleep_until_woken(void)
{
	struct pollfd fds[2] = { { .fd = brain.wake, .events = POLLIN }, { .fd = brain.files } };
	eventfd_t count;

	if (poll(fds, 2, FOR_EVER) < 0)
		return errno == EINTR;
	(void)eventfd_read(brain.wake, &count);
	return !(fds[1].revents & (POLLHUP | POLLERR));
}

/* Tell a command's outcome. False: the brain is gone, or lies. */
static bool tell_result(int result)
{
	struct csvn_record r = { .kind = CSVN_EVENT_RESULT,
				 .handle = (int)(progress.done & RESULT_NUMBERS),
				 .aux = (uint32_t)result };
	struct queue_part part = { &r.kind, sizeof(r) - QUEUE_HEADER };
	int rc;

	while ((rc = queue_put(&brain.events, &part, 1)) == -EAGAIN) {
		link_tell(&brain, &progress, true);
		__atomic_store_n(&brain.shared->stalled, 1, __ATOMIC_RELAXED);
		/* Pairs with link_is_stalled(): either that sees it, or the room is seen here. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (queue_room(&brain.events) < queue_record(sizeof(r)) && !sleep_until_woken())
			return false;
		__atomic_store_n(&brain.shared->stalled, 0, __ATOMIC_RELAXED);
	}
	return rc == 0;
}

/* The descriptor of a file, which the brain has given before it named it. */
static int take_file(int wanted)
{
	int file, fd;

	while (link_take_file(&brain, &file, &fd) > 0) {
		/* The next ones are of other commands. */
		if (file == wanted)
			return fd < 0 ? -EMFILE : fd;
		if (fd >= 0)
			close(fd);
	}
	return -EBADF;
}

static void forget(int handle)
{
	struct arena *arena = handle_remove(&arenas, handle);

	if (!arena)
		return;
	close(arena->fd);
	free(arena);
}

static int keep(int handle, int file)
{
	struct arena *arena = calloc(1, sizeof(*arena));
	int rc;

	if (!arena)
		return -ENOMEM;
	rc = arena->fd = take_file(file);
	if (rc >= 0)
		rc = handle_put(&arenas, handle, arena);
	if (rc < 0) {
		if (arena->fd >= 0)
			close(arena->fd);
		free(arena);
	}
	return rc;
}

static int wipe_arena(int handle, const uint8_t *body, uint32_t count)
{
	struct arena *arena = handle_get(&arenas, handle);
	struct csvn_wipe range;
	struct moment began, ended;
	int rc;

	if (count != sizeof(range))
		return -EINVAL;
	memcpy(&range, body, sizeof(range));
	if (!arena)
		return -EBADF;
	began = moment_now();
	if (!range.patient && toll_is_high(&arena->toll, &began))
		return -EAGAIN;
	rc = wipe(arena->fd, range.offset, range.bytes, range.keep);
	ended = moment_now();
	toll_add(&arena->toll, &began, &ended, range.bytes);
	return rc;
}

/* Do the next command. 1; 0: there is none; -1: it is over. */
static int obey(void)
{
	uint8_t bytes[LINK_RECORD_MAX];
	int length = queue_next(&brain.commands, bytes, sizeof(bytes));
	struct csvn_record r;
	bool goes_on = true;

	if (length == 0)
		return 0;
	if (length < (int)sizeof(r))
		return -1;
	memcpy(&r, bytes, sizeof(r));
	switch (r.kind) {
	case CSVN_COMMAND_ARENA:
		goes_on = tell_result(keep(r.handle, (int)r.aux));
		break;
	case CSVN_COMMAND_UNARENA:
		forget(r.handle);
		break;
	case CSVN_COMMAND_WIPE:
		goes_on = tell_result(wipe_arena(r.handle, bytes + sizeof(r), (uint32_t)length - (uint32_t)sizeof(r)));
		break;
	case CSVN_COMMAND_END:
		return -1;
	default:
		break;
	}
	progress.done++;
	return goes_on ? 1 : -1;
}

int main(int argc, char **argv)
{
	int rc;

	(void)argv;
	if (argc != 1 || link_open(&brain, LINK_MEMORY, false) < 0) {
		fprintf(stderr, "csvn-janitor: it is started by the switch, not by hand\n");
		return 2;
	}
	/* A terminal's signals are the switch's, whose end is its own. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	brain.wake = LINK_WAKE;
	brain.files = LINK_FILES;
	brain.bell = LINK_BELL;
	handle_table_init(&arenas, ARENAS_MAX);
	while ((rc = obey()) >= 0) {
		/* After each: the brain looks whether it goes on. */
		link_tell(&brain, &progress, rc > 0);
		if (rc > 0 || !queue_sleep(&brain.commands))
			continue;
		if (!sleep_until_woken())
			break;
		queue_awake(&brain.commands);
	}
	return 0;
}
