/* SPDX-License-Identifier: MIT */
/* A program that talks to itself over any kind of stream socket, and says how fast that went. */
#ifndef TALK_H
#define TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* First byte of a connection: what the server shall do. */
enum verb {
	TALK_ANSWER = 'a', /* send the byte back, and close */
	TALK_ECHO = 'e', /* send each byte back */
	TALK_PASS = 'p', /* receive all, then tell its sum */
	TALK_TOUCH = 't', /* the same, and read every byte */
	TALK_MAP = 'm', /* the same, in the mapped circuit */
};

/* What a receiver of a stream tells at its end. */
struct total {
	uint64_t bytes;
	uint64_t sum; /* of all words; 0 if they were not read */
};

/* address.c: tcp:ADDRESS:PORT, vsock:CID:PORT, unix:PATH */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	};
	socklen_t length;
};
struct place parse_place(const char *text);
int connect_to(const struct place *p);
int listen_at(const struct place *p);

/* common.c */
void must(const char *what, bool holds);
uint64_t now(void); /* ns */
void send_all(int fd, const void *bytes, size_t n);
bool receive_all(int fd, void *bytes, size_t n); /* false: end of file before the first */

void serve(const struct place *p);
void round_trips(const struct place *p, double seconds);
void rate(const struct place *p, unsigned at_once, double seconds);
void stream(const struct place *p, double seconds, size_t piece, enum verb how);
struct total receive_stream(int fd, enum verb how);

#endif
