/* SPDX-License-Identifier: MIT */
/* Where a case's own addresses are reached: see sockets.h. */
#define _GNU_SOURCE
#define SOCKETS_REACH
#include "sockets.h"

#define MESSAGES_MAX 1024

struct sockaddr_in reached = { .sin_family = AF_INET };
struct sockaddr_in6 reached6 = { .sin6_family = AF_INET6 };

union name {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	struct sockaddr_storage room;
};

/* The address that is meant, in room if it is another. */
static const struct sockaddr *meant(const struct sockaddr *to, socklen_t length, union name *room)
{
	if (!to || length > sizeof(*room) || length < sizeof(struct sockaddr_in))
		return to;
	memcpy(room, to, length);
	if (room->any.sa_family == AF_INET && room->four.sin_addr.s_addr == there.sin_addr.s_addr) {
		room->four.sin_addr = reached.sin_addr;
		return &room->any;
	}
	if (room->any.sa_family != AF_INET6 || length < sizeof(room->six))
		return to;
	if (memcmp(&room->six.sin6_addr, &there6.sin6_addr, sizeof(there6.sin6_addr)) == 0)
		room->six.sin6_addr = reached6.sin6_addr;
	else if (IN6_IS_ADDR_V4MAPPED(&room->six.sin6_addr) &&
		 memcmp(room->six.sin6_addr.s6_addr + 12, &there.sin_addr, 4) == 0)
		memcpy(room->six.sin6_addr.s6_addr + 12, &reached.sin_addr, 4);
	else
		return to;
	return &room->any;
}

int reach_connect(int fd, const struct sockaddr *to, socklen_t length)
{
	union name room;

	return connect(fd, meant(to, length, &room), length);
}

ssize_t reach_sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to, socklen_t length)
{
	union name room;

	return sendto(fd, bytes, n, flags, meant(to, length, &room), length);
}

ssize_t reach_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct msghdr copy = *msg;
	union name room;

	copy.msg_name = (void *)(uintptr_t)meant(msg->msg_name, msg->msg_namelen, &room);
	return sendmsg(fd, &copy, flags);
}

int reach_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	static union name rooms[MESSAGES_MAX];
	struct mmsghdr copies[MESSAGES_MAX];
	int sent;

	if (n > MESSAGES_MAX)
		return sendmmsg(fd, msgs, n, flags);
	for (unsigned int i = 0; i < n; i++) {
		copies[i] = msgs[i];
		copies[i].msg_hdr.msg_name = (void *)(uintptr_t)meant(msgs[i].msg_hdr.msg_name,
								     msgs[i].msg_hdr.msg_namelen, &rooms[i]);
	}
	sent = sendmmsg(fd, copies, n, flags);
	for (int i = 0; i < sent; i++)
		msgs[i].msg_len = copies[i].msg_len;
	return sent;
}
