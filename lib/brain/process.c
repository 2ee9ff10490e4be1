/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What a process is started with, by the numbers that it has there. */
struct start {
	const struct plane *plane; /* of which nothing is looked at that changes */
	bool janitor;
	int descriptors[LINK_DESCRIPTORS];
	int wake, files, memory, bell; /* the brain's own */
};

static int prepare(struct start *s, int front)
{
	int pair[2];

	memset(s->descriptors, 0xff, sizeof(s->descriptors));
	s->wake = s->files = s->memory = s->bell = -1;
	s->descriptors[LINK_FRONT] = front;
	s->memory = memfd_create("csvn-link", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->memory < 0 || ftruncate(s->memory, (off_t)LINK_BYTES) < 0 ||
	    fcntl(s->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	s->descriptors[LINK_MEMORY] = s->memory;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake < 0)
		return -errno;
	s->descriptors[LINK_WAKE] = s->wake;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	s->files = pair[0];
	s->descriptors[LINK_FILES] = pair[1];
	/* Files go one way. What a port sent would lie there with whatever it brought, and be closed by this process. */
	if (shutdown(s->files, SHUT_RD) < 0)
		return -errno;
	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->bell < 0)
		return -errno;
	s->descriptors[LINK_BELL] = s->bell;
	return 0;
}

static int spawn(const struct start *s, pid_t *pid)
{
	const char *name = s->janitor ? "csvn-janitor" : "csvn-port", *beside = strrchr(s->plane->program, '/');
	int folder = beside ? (int)(beside - s->plane->program) + 1 : 0;
	char first_id[16], descriptors[16], program[PATH_MAX];
	char *const arguments[] = { (char *)(uintptr_t)name, s->janitor ? NULL : first_id, descriptors, NULL };
	char *const environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int high[LINK_DESCRIPTORS], rc = 0;
	sigset_t none, all;

	if (snprintf(program, sizeof(program), "%.*s%s", s->janitor ? folder : PATH_MAX, s->plane->program, s->janitor ? name : "") >= (int)sizeof(program))
		return -ENAMETOOLONG;
	(void)snprintf(first_id, sizeof(first_id), "%" PRIu32, s->plane->first_id);
	(void)snprintf(descriptors, sizeof(descriptors), "%" PRIu32, s->plane->port_descriptors);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	/* First out of the way of the numbers that they get, each of which may be another's now. */
	memset(high, 0xff, sizeof(high));
	for (int i = s->janitor ? LINK_MEMORY : LINK_FRONT; i < LINK_DESCRIPTORS && rc == 0; i++) {
		high[i] = fcntl(s->descriptors[i], F_DUPFD_CLOEXEC, LINK_DESCRIPTORS);
		rc = high[i] < 0 ? -errno : -posix_spawn_file_actions_adddup2(&actions, high[i], i);
	}
	/* A janitor has no front-end, but whoever began the switch may have left something there. */
	if (rc == 0 && s->janitor)
		rc = -posix_spawn_file_actions_addclose(&actions, LINK_FRONT);
	/* Its errors are the switch's, until that is gone. */
	if (rc == 0)
		rc = -posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	if (rc == 0)
		rc = -posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	if (rc == 0)
		rc = -posix_spawn_file_actions_addclosefrom_np(&actions, LINK_DESCRIPTORS);
	/* In a group of its own: what a terminal sends to the switch is not for it. */
	sigemptyset(&none);
	sigfillset(&all);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &all);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawnattr_setflags(&attributes,
				       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (rc == 0)
		rc = -posix_spawn(pid, program, &actions, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	for (int i = LINK_FRONT; i < LINK_DESCRIPTORS; i++)
		close_descriptor(&high[i]);
	return rc;
}

void process_give_up(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int process_start(const struct plane *p, bool janitor, int front, struct begun *b)
{
	struct start s = { .plane = p, .janitor = janitor };
	int rc = prepare(&s, front), memory;

	*b = (struct begun){ .link = { .wake = -1, .files = -1, .bell = -1 }, .process = -1, .bell = -1 };
	if (rc == 0) {
		memory = fcntl(s.memory, F_DUPFD_CLOEXEC, 0);
		rc = memory < 0 ? -errno : link_open(&b->link, memory, true);
	}
	if (rc == 0)
		rc = spawn(&s, &b->pid);
	if (rc == 0) {
		b->process = (int)syscall(SYS_pidfd_open, b->pid, 0);
		rc = b->process < 0 ? -errno : 0;
		if (rc < 0)
			process_give_up(b->pid);
	}
	close_descriptor(&s.descriptors[LINK_FILES]);
	close_descriptor(&s.memory);
	b->link.wake = s.wake;
	b->link.files = s.files;
	b->bell = s.bell;
	return rc;
}
