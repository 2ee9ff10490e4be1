/* SPDX-License-Identifier: MIT */
/* What the examples do with ordinary sockets: IPv4, and they end when something fails. */
#ifndef EXAMPLES_NET_H
#define EXAMPLES_NET_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <csvn.h>

__attribute__((noreturn)) static inline void die(const char *what, long err)
{
	fprintf(stderr, "%s: %s\n", what, strerror((int)-err));
	exit(1);
}

static inline long must(const char *what, long result)
{
	if (result < 0)
		die(what, result);
	return result;
}

static inline struct sockaddr_in endpoint(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(port)) };

	if (address && inet_pton(AF_INET, address, &to.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", address);
		exit(2);
	}
	return to;
}

static inline int connect_to(const char *address, const char *port)
{
	struct sockaddr_in to = endpoint(address, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect", -errno);
	return fd;
}

static inline int listen_on(const char *port)
{
	struct sockaddr_in at = endpoint(NULL, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0)
		die("listen", -errno);
	return fd;
}

/* A child process for each connection; returns in the child. */
static inline int serve(const char *port)
{
	int listener = listen_on(port), fd;

	signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			die("accept", -errno);
		switch (fork()) {
		case -1:
			die("fork", -errno);
		case 0:
			close(listener);
			return fd;
		}
		close(fd);
	}
}

#endif
