/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "closer.h"
#include "descriptor.h"

#define BACKLOG 64

/* Is there a socket at the path that nobody listens on any more? */
static int is_dead(const struct sockaddr_un *a)
{
	struct stat st;
	int fd, rc;

	if (lstat(a->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
	rc = rc < 0 && errno == ECONNREFUSED;
	close(fd);
	return rc;
}

static int bind_path(int fd, const struct sockaddr_un *a, uint32_t mode)
{
	mode_t before = umask((mode_t)(~mode & 0777));
	int rc = bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 ? -errno : 0;

	if (rc == -EADDRINUSE && is_dead(a) && unlink(a->sun_path) == 0)
		rc = bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 ? -errno : 0;
	umask(before);
	return rc;
}

void listener_destroy(struct plane *p, struct listener *l)
{
	if (l->handle >= 0)
		handle_remove(&p->listeners, l->handle);
	if (l->fd >= 0) {
		plane_unwatch(p, l->fd);
		/* With those that it has not given. */
		closer_close(-1, -1, l->fd, NULL);
		unlink(l->path);
	}
	free(l);
}

/* It is not watched until there are descriptors again. */
static void rest(struct plane *p, struct listener *l, int error)
{
	plane_unwatch(p, l->fd);
	l->resting = true;
	if (p->resting)
		return;
	p->resting = error;
	plane_ring(p);
}

int listener_accept(struct plane *p, struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int error = fd < 0 ? errno : descriptor_is_last(fd) ? EMFILE : 0;

	if (descriptor_is_want(error))
		rest(p, l, error);
	return fd;
}

void listener_wait(const struct plane *p, struct listener *l)
{
	l->waiting = true;
	plane_heed(p, l->fd, false, WATCHED_LISTENER, l->handle);
}

void listener_next(struct plane *p, int handle)
{
	struct listener *l = handle_get(&p->listeners, handle);

	if (!l || !l->waiting)
		return;
	l->waiting = false;
	plane_heed(p, l->fd, true, WATCHED_LISTENER, l->handle);
}

void listeners_tick(struct plane *p)
{
	struct listener *l;
	bool resting = false;

	if (descriptor_is_short(p->wake))
		return;
	handle_for_each(&p->listeners, i, l) {
		if (l->resting && !l->waiting)
			l->resting = plane_watch(p, l->fd, WATCHED_LISTENER, l->handle) < 0;
		resting = resting || l->resting;
	}
	if (resting)
		return;
	p->resting = 0;
	plane_ring(p);
}

/* A listening socket at a path, or -errno. */
static int open_listener(struct listener *l, const struct sockaddr_un *address, uint32_t mode)
{
	int rc;

	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	rc = bind_path(l->fd, address, mode);
	if (rc == 0) {
		memcpy(l->path, address->sun_path, sizeof(l->path));
		if (listen(l->fd, BACKLOG) == 0)
			return 0;
		rc = -errno;
		unlink(l->path);
	}
	close(l->fd);
	l->fd = -1;
	return rc;
}

int csvn_listen(int plane, const uint8_t *path, uint32_t path_bytes, uint32_t mode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct listener *l;
	struct plane *p;
	int rc;

	if (path_bytes == 0 || memchr(path, 0, path_bytes))
		return -EINVAL;
	if (path_bytes >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, path_bytes);
	p = plane_enter(plane);
	if (!p)
		return -EBADF;
	l = calloc(1, sizeof(*l));
	rc = l ? 0 : -ENOMEM;
	if (l) {
		l->handle = l->fd = -1;
		rc = open_listener(l, &address, mode);
	}
	if (rc == 0)
		rc = l->handle = handle_add(&p->listeners, l);
	if (rc >= 0)
		rc = plane_watch(p, l->fd, WATCHED_LISTENER, l->handle);
	if (rc == 0)
		rc = l->handle;
	else if (l)
		listener_destroy(p, l);
	plane_leave(p);
	return rc;
}

int csvn_unlisten(int plane, int listener)
{
	struct plane *p = plane_enter(plane);
	struct listener *l;

	if (!p)
		return -EBADF;
	l = handle_get(&p->listeners, listener);
	if (l)
		listener_destroy(p, l);
	plane_leave(p);
	return l ? 0 : -EBADF;
}
