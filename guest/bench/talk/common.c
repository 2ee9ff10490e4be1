// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "talk.h"

void must(const char *what, bool holds)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void send_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;
	ssize_t sent;

	for (; n; at += sent, n -= (size_t)sent) {
		sent = send(fd, at, n, MSG_NOSIGNAL);
		must("send", sent > 0);
	}
}

bool receive_all(int fd, void *bytes, size_t n)
{
	char *at = bytes;
	ssize_t got;

	for (; n; at += got, n -= (size_t)got) {
		got = recv(fd, at, n, 0);
		must("recv", got >= 0);
		if (got == 0 && at == bytes)
			return false;
		must("recv: end of file", got > 0);
	}
	return true;
}
