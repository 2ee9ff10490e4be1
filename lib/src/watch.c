/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

void watch_init(struct watch *w, enum watched what, int handle, uint32_t aux)
{
	w->fd = -1;
	w->events = 0;
	w->data = (uint64_t)what << 56 | (uint64_t)(aux & 0xff) << 48 | (uint32_t)handle;
}

int watch_for(struct port *p, struct watch *w, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = w->data };
	int rc;

	if (w->fd == fd && w->events == events)
		return 0;
	if (w->fd >= 0 && w->fd != fd)
		watch_drop(p, w);
	rc = epoll_ctl(p->epoll, w->fd < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) < 0 ? -errno : 0;
	if (rc < 0) {
		watch_drop(p, w);
		return rc;
	}
	w->fd = fd;
	w->events = events;
	return 0;
}

void watch_drop(struct port *p, struct watch *w)
{
	if (w->fd < 0)
		return;
	/* It is in the set, and open. If not, somebody else has closed it, and its number may be another VM's by now: no way to go on. */
	if (epoll_ctl(p->epoll, EPOLL_CTL_DEL, w->fd, NULL) < 0)
		abort();
	watch_closing(w);
}

void watch_closing(struct watch *w)
{
	w->fd = -1;
	w->events = 0;
}
