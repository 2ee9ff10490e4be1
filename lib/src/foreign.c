/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "interrupt.h"

#define CLOSERS_MAX 64u /* threads that may wait in close() */
#define FIRST_CAPACITY 16u

static int socket_option(int fd, int option)
{
	socklen_t bytes = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) < 0 ? -1 : value;
}

enum foreign foreign_kind(struct interrupter *i, int fd)
{
	/* Of all files only those in memory have seals. */
	if (fcntl(fd, F_GET_SEALS) >= 0)
		return FOREIGN_MEMORY;
	if (interrupter_knows(i, fd))
		return FOREIGN_EVENTFD;
	if (socket_option(fd, SO_DOMAIN) == AF_UNIX && socket_option(fd, SO_TYPE) == SOCK_STREAM)
		return FOREIGN_CHANNEL;
	return FOREIGN_OTHER;
}

int foreign_stat(int memory, struct stat *st)
{
	return syscall(SYS_fstat, memory, st) < 0 ? -errno : 0;
}

/* Descriptors that wait to be closed, and the threads that do that. */
static struct {
	pthread_mutex_t lock;
	int *fds;
	uint32_t count, capacity;
	uint32_t threads;
} closing = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Until there are none, or one of them makes it wait for ever. */
static void *close_them(void *unused)
{
	pthread_mutex_lock(&closing.lock);
	while (closing.count) {
		int fd = closing.fds[--closing.count];

		pthread_mutex_unlock(&closing.lock);
		close(fd);
		pthread_mutex_lock(&closing.lock);
	}
	closing.threads--;
	pthread_mutex_unlock(&closing.lock);
	return unused;
}

static bool start_thread(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	/* Signals are for the process that loaded the library. */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, close_them, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

/* In a thread that may wait for ever. Where nothing can be had for it, the descriptor stays open, which is better than to wait. */
static void close_elsewhere(int fd)
{
	pthread_mutex_lock(&closing.lock);
	if (closing.count == closing.capacity) {
		uint32_t capacity = closing.capacity ? closing.capacity * 2 : FIRST_CAPACITY;
		int *fds = realloc(closing.fds, capacity * sizeof(*fds));

		if (fds) {
			closing.fds = fds;
			closing.capacity = capacity;
		}
	}
	if (closing.count < closing.capacity)
		closing.fds[closing.count++] = fd;
	if (closing.threads < CLOSERS_MAX && start_thread())
		closing.threads++;
	pthread_mutex_unlock(&closing.lock);
}

/* Nothing came any more before this is asked. */
static bool has_unread(int fd)
{
	int bytes = 0;

	return ioctl(fd, FIONREAD, &bytes) < 0 || bytes != 0;
}

void foreign_close(struct interrupter *i, int fd)
{
	switch (foreign_kind(i, fd)) {
	case FOREIGN_MEMORY:
	case FOREIGN_EVENTFD:
		close(fd);
		return;
	case FOREIGN_CHANNEL:
		/* What lies in it unread may have descriptors of any kind, which are closed with it. */
		(void)shutdown(fd, SHUT_RDWR);
		if (!has_unread(fd)) {
			close(fd);
			return;
		}
		break;
	case FOREIGN_OTHER:
		break;
	}
	close_elsewhere(fd);
}
