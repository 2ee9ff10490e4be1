// SPDX-License-Identifier: MIT
/* The server: threads that accept, and do what a connection's first byte says. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <unistd.h>

#include "talk.h"

#define THREADS 32

static void echo(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, 0) == 1)
		send_all(fd, &byte, 1);
}

static void *worker(void *arg)
{
	int listener = *(int *)arg, one = 1;
	struct total total;
	char verb;

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		must("accept", fd >= 0);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* where it is TCP */
		if (recv(fd, &verb, 1, 0) == 1) {
			switch (verb) {
			case TALK_ANSWER:
				send(fd, &verb, 1, MSG_NOSIGNAL);
				break;
			case TALK_ECHO:
				echo(fd);
				break;
			case TALK_PASS:
			case TALK_TOUCH:
			case TALK_MAP:
				total = receive_stream(fd, (enum verb)verb);
				send_all(fd, &total, sizeof(total));
				break;
			}
		}
		close(fd);
	}
	return NULL;
}

void serve(const struct place *p)
{
	int listener = listen_at(p);
	pthread_t thread;

	for (int i = 1; i < THREADS; i++)
		must("pthread_create", pthread_create(&thread, NULL, worker, &listener) == 0);
	worker(&listener);
}
