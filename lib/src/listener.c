/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "session.h"

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
	handle_remove(&p->listeners, l->handle);
	if (l->fd >= 0) {
		rest_end(p, &l->resting);
		close(l->fd);
		unlink(l->path);
	}
	free(l);
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
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = l->fd < 0 ? -errno : bind_path(l->fd, &address, mode);
	if (rc < 0) {
		if (l->fd >= 0)
			close(l->fd);
		free(l);
		return rc;
	}
	memcpy(l->path, address.sun_path, sizeof(l->path));
	if (listen(l->fd, BACKLOG) < 0) {
		rc = -errno;
		close(l->fd);
		unlink(l->path);
		free(l);
		return rc;
	}
	p = plane_enter(plane);
	if (!p) {
		close(l->fd);
		unlink(l->path);
		free(l);
		return -EBADF;
	}
	rc = l->handle = handle_add(&p->listeners, l);
	watch_init(&l->resting.watch, WATCHED_LISTENER, l->handle, 0);
	if (rc >= 0)
		rc = rest_begin(p, &l->resting, l->fd);
	if (rc < 0)
		listener_destroy(p, l);
	else
		rc = l->handle;
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
