/* SPDX-License-Identifier: MIT */
/*
 * What sockets do, case by case: the same program runs over the guest's own stack and over circuits, and what it saw
 * is compared. A case says what it saw by saw() and SAW(); it must not depend on time, port numbers or buffer sizes.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*run)(const void *parameter);
	const void *parameter;
};

/* Each file's cases, ended by one without a name. */
extern const struct test moving_tests[], setup_tests[], closing_tests[], option_tests[], waiting_tests[];
extern const struct test signal_tests[], sharing_tests[], uring_tests[], datagram_tests[], ancillary_tests[];

#define CASE(function) { #function, function, NULL }
#define END { NULL, NULL, NULL }

/* The addresses that a case uses, with port 0. */
extern struct sockaddr_in there;
extern struct sockaddr_in6 there6;
/*
 * Where they are reached: there, or, in the run by way of the host's stack, at an address of the host that has their ports published. So
 * what a case connects and sends to goes there.
 */
extern struct sockaddr_in reached;
extern struct sockaddr_in6 reached6;
int reach_connect(int fd, const struct sockaddr *to, socklen_t length);
ssize_t reach_sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to, socklen_t length);
ssize_t reach_sendmsg(int fd, const struct msghdr *msg, int flags);
int reach_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags);
#ifndef SOCKETS_REACH
#define connect reach_connect
#define sendto reach_sendto
#define sendmsg reach_sendmsg
#define sendmmsg reach_sendmmsg
#endif
/* The program itself, for exec. */
extern const char *program;

/* One line of what a case saw. */
void saw(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The result of a call: its number, or the name of its error. Returns it, with errno as it was. */
long did(const char *what, long result);
#define SAW(call) did(#call, (call))
/* What poll() says at once, or within 5 s, by names. */
void saw_events(const char *what, int fd, short events, int ms);
void saw_mask(const char *what, unsigned int mask);
/* Bytes, as a string. */
void saw_bytes(const char *what, const void *bytes, long size);

/* What must work, or the case is over. */
long must(const char *what, long result);
#define MUST(call) must(#call, (call))

struct pair {
	int a; /* connected */
	int b; /* accepted */
};

int listener(int backlog);
struct sockaddr_in name_of(int fd);
struct sockaddr_in reached_name_of(int fd);
struct pair connected(void);
int dial(const struct sockaddr_in *to);
/* Wait until poll() says one of events, for at most 5 s; what it said. */
short await(int fd, short events);
short await_ms(int fd, short events, int ms);
/* Wait until so many bytes of a stream are there, for at most 5 s: to the outside they are under way for a while. */
void arrived(int fd, int bytes);
/* Let what is under way arrive. */
void settle(void);
void nap(int ms);
void timeout(int fd, int name, int ms);
int set_int(int fd, int level, int name, int value);
int get_int(int fd, int level, int name);
double now(void);
void close_both(struct pair p);
/* Send until there is no room, neither here nor on the way; the bytes that were taken. */
size_t fill(int fd);

/* A thread that does something after some milliseconds, and may be waited for. */
struct later {
	pthread_t thread;
	int ms;
	int fd;
	void (*act)(int fd);
};
void later(struct later *l, int ms, void (*act)(int fd), int fd);
void finished(struct later *l);
void send_late(int fd); /* "late" */

#endif
