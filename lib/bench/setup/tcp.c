/* SPDX-License-Identifier: MIT */
/* Connect, one byte, close, over loopback TCP: a thread that accepts, reads and closes, and one that connects. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

/* Addresses of this bench's own: the first is the server's, the clients have the others in turn, since a closed connection keeps its ports for a minute. */
#define LOOPBACK 0x7f4d6301u /* 127.77.99.1 */
#define CLIENTS 250u

struct server {
	int listener;
	uint32_t count;
	int error;
};

static void *serve(void *argument)
{
	struct server *s = argument;

	for (uint32_t i = 0; i < s->count; i++) {
		int fd = accept(s->listener, NULL, NULL);
		char byte;

		if (fd < 0 || read(fd, &byte, 1) != 1)
			s->error = -errno;
		close(fd);
	}
	return NULL;
}

static struct sockaddr_in address_of(uint32_t n, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(LOOPBACK + n) };
}

/* Begin a connection; its byte is sent when it is there. */
static int begin(uint32_t n, uint16_t port, int poller)
{
	struct epoll_event event = { .events = EPOLLOUT };
	struct sockaddr_in client = address_of(1 + n % CLIENTS, 0), server = address_of(0, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0)
		return -errno;
	event.data.fd = fd;
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&client, sizeof(client)) < 0 ||
	    (connect(fd, (struct sockaddr *)&server, sizeof(server)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	return 0;
}

static int connect_all(const struct setup_job *job, uint16_t port)
{
	struct epoll_event events[64];
	uint32_t begun = 0, done = 0;
	int poller = epoll_create1(0), rc = 0;

	while (done < job->count && rc == 0) {
		int n;

		while (rc == 0 && begun < job->count && begun - done < job->at_once)
			rc = begin(begun++, port, poller);
		n = epoll_wait(poller, events, 64, 20000);
		if (n <= 0)
			rc = rc ? rc : -ETIMEDOUT;
		for (int i = 0; i < n; i++) {
			if (write(events[i].data.fd, "x", 1) != 1)
				rc = -errno;
			close(events[i].data.fd);
			done++;
		}
	}
	close(poller);
	return rc;
}

int setup_tcp(const struct setup_job *job, uint64_t *elapsed)
{
	struct sockaddr_in own = address_of(0, 0);
	struct server server = { .listener = socket(AF_INET, SOCK_STREAM, 0), .count = job->count };
	socklen_t length = sizeof(own);
	struct timespec began, ended;
	pthread_t thread;
	int rc;

	if (bind(server.listener, (struct sockaddr *)&own, length) < 0 || listen(server.listener, 4096) < 0 ||
	    getsockname(server.listener, (struct sockaddr *)&own, &length) < 0)
		return -errno;
	clock_gettime(CLOCK_MONOTONIC, &began);
	if (pthread_create(&thread, NULL, serve, &server) != 0)
		return -EAGAIN;
	rc = connect_all(job, own.sin_port);
	if (rc < 0)
		shutdown(server.listener, SHUT_RD);
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	close(server.listener);
	*elapsed = (uint64_t)(ended.tv_sec - began.tv_sec) * 1000000000u + (uint64_t)ended.tv_nsec - (uint64_t)began.tv_nsec;
	return rc ? rc : server.error;
}
