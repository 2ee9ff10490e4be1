/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "plane.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_idle = PTHREAD_COND_INITIALIZER;
static struct handle_table registry = { .limit = PLANES_MAX };

struct plane *plane_enter(int handle)
{
	struct plane *p;

	pthread_mutex_lock(&registry_lock);
	p = handle_get(&registry, handle);
	if (p)
		p->users++;
	pthread_mutex_unlock(&registry_lock);
	if (p)
		pthread_mutex_lock(&p->lock);
	return p;
}

void plane_leave(struct plane *p)
{
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_lock(&registry_lock);
	if (--p->users == 0)
		pthread_cond_broadcast(&registry_idle);
	pthread_mutex_unlock(&registry_lock);
}

int plane_register(struct plane *p)
{
	int handle;

	pthread_mutex_lock(&registry_lock);
	handle = p->handle = handle_add(&registry, p);
	pthread_mutex_unlock(&registry_lock);
	return handle;
}

struct plane *plane_unregister(int handle)
{
	struct plane *p;

	pthread_mutex_lock(&registry_lock);
	p = handle_remove(&registry, handle);
	pthread_mutex_unlock(&registry_lock);
	return p;
}

void plane_wait_unused(const struct plane *p)
{
	pthread_mutex_lock(&registry_lock);
	while (p->users)
		pthread_cond_wait(&registry_idle, &registry_lock);
	pthread_mutex_unlock(&registry_lock);
}

static int control(const struct plane *p, int how, int fd, uint32_t events, enum watched what, int handle)
{
	struct epoll_event e = { .events = events, .data.u64 = (uint64_t)what << 32 | (uint32_t)handle };

	return epoll_ctl(p->epoll, how, fd, &e) < 0 ? -errno : 0;
}

int plane_watch(const struct plane *p, int fd, enum watched what, int handle)
{
	return control(p, EPOLL_CTL_ADD, fd, EPOLLIN, what, handle);
}

int plane_watch_signals(const struct plane *p, int fd, enum watched what, int handle)
{
	return control(p, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, what, handle);
}

void plane_heed_signals(const struct plane *p, int fd, bool heeded, enum watched what, int handle)
{
	(void)control(p, EPOLL_CTL_MOD, fd, heeded ? EPOLLIN | EPOLLET : 0, what, handle);
}

void plane_heed(const struct plane *p, int fd, bool heeded, enum watched what, int handle)
{
	(void)control(p, EPOLL_CTL_MOD, fd, heeded ? EPOLLIN : 0, what, handle);
}

void plane_unwatch(const struct plane *p, int fd)
{
	/* It may not be in the set, when it could not be added. */
	(void)epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void plane_ring(struct plane *p)
{
	p->news = true;
	if (!p->sleeps)
		return;
	p->sleeps = false;
	/* When it is full, it has been rung. When TypeScript has closed it, nobody waits. */
	(void)send(p->bell, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int plane_dial(const uint8_t *path, uint32_t path_bytes)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd, rc;

	if (path_bytes == 0 || path_bytes >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, path_bytes);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}
