/* SPDX-License-Identifier: MIT */
/* Programs that map circuits, for tests/vm/zero_copy_test.ts: each does one thing and prints what it saw. */
#ifndef ZERO_H
#define ZERO_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <csvn.h>

#define ROOM (1u << 20) /* for bytes that do not go by the mapping */

/* main.c */
void fail(const char *what);
void check(const char *what, bool holds); /* prints and ends the program when it does not */
void refused(const char *what, long result, int err); /* the same: result is -1 with that errno */
int dial(const char *address, int port);
int listener(int port);
int welcome(int fd); /* accept() */
void map(struct csvn *c, int fd);
void nap(unsigned int ms);

/* touch.c: the signal that reading (writing) a byte there brings, or 0 */
int byte_at(const void *at); /* or minus the signal */
int reads(const void *at);
int writes(void *at);
const char *signal_name(int number);

/* bytes.c: pseudo-random streams */
struct bytes {
	uint64_t state;
};
void make_bytes(struct bytes *b, uint8_t *to, size_t n);
bool same_bytes(struct bytes *b, const uint8_t *at, size_t n);
uint64_t next_number(struct bytes *b);

/* One of each file. */
void pump(int argc, char **argv);
void rights(int argc, char **argv);
void inherit(int argc, char **argv);
void ends(int argc, char **argv);
void halves(int argc, char **argv);
void scribble(int argc, char **argv);
void look(int argc, char **argv);
void cycles(int argc, char **argv);
void storm(int argc, char **argv);
void hold(int argc, char **argv);

#endif
