// SPDX-License-Identifier: MIT
/* Bulk in one direction: by sockets, or by the mapped circuit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <csvn.h>

#include "talk.h"

#define WORD sizeof(uint64_t)
#define RECEIVE_BYTES (128u << 10)

/* Words that count up: what was written. */
static uint64_t produce(uint64_t *to, size_t bytes, uint64_t *next)
{
	uint64_t sum = 0, value = *next;

	for (size_t i = 0; i < bytes / WORD; i++, value++) {
		to[i] = value;
		sum += value;
	}
	*next = value;
	return sum;
}

static uint64_t add_up(const uint64_t *from, size_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes / WORD; i++)
		sum += from[i];
	return sum;
}

static struct total send_pieces(int fd, uint64_t end, size_t piece, bool touch)
{
	uint64_t *buffer = aligned_alloc(4096, (piece + 4095) & ~(size_t)4095), next = 1;
	struct total total = { 0, 0 };

	must("aligned_alloc", buffer);
	memset(buffer, 0, piece);
	for (; now() < end; total.bytes += piece) {
		if (touch)
			total.sum += produce(buffer, piece, &next);
		send_all(fd, buffer, piece);
	}
	free(buffer);
	must("shutdown", shutdown(fd, SHUT_WR) == 0);
	return total;
}

static struct total receive_pieces(int fd, bool touch)
{
	char *buffer = aligned_alloc(4096, RECEIVE_BYTES);
	struct total total = { 0, 0 };
	size_t have = 0, whole;
	ssize_t got;

	must("aligned_alloc", buffer);
	while ((got = recv(fd, buffer + have, RECEIVE_BYTES - have, 0)) > 0) {
		total.bytes += (uint64_t)got;
		if (!touch)
			continue;
		have += (size_t)got;
		whole = have - have % WORD;
		total.sum += add_up((uint64_t *)buffer, whole);
		have -= whole;
		memmove(buffer, buffer + whole, have);
	}
	must("recv", got == 0);
	free(buffer);
	return total;
}

static struct total send_mapped(int fd, uint64_t end, size_t piece)
{
	struct total total = { 0, 0 };
	uint64_t next = 1;
	struct csvn c;
	void *room;
	long n;

	must("csvn_map", csvn_map(&c, fd) == 0);
	while (now() < end) {
		n = csvn_reserve(&c, piece, &room);
		if (n == -EAGAIN || (n > 0 && (size_t)n < piece)) {
			must("csvn_wait", csvn_wait(&c, CSVN_WRITABLE, -1) > 0);
			continue;
		}
		must("csvn_reserve", n > 0);
		total.sum += produce(room, piece, &next);
		must("csvn_commit", csvn_commit(&c, piece) == 0);
		total.bytes += piece;
	}
	must("csvn_shutdown", csvn_shutdown(&c) == 0);
	must("csvn_unmap", csvn_unmap(&c) == 0);
	return total;
}

static struct total receive_mapped(int fd)
{
	struct total total = { 0, 0 };
	const void *bytes;
	struct csvn c;
	long n;

	must("csvn_map", csvn_map(&c, fd) == 0);
	while ((n = csvn_peek(&c, WORD, &bytes)) != 0) {
		if (n == -EAGAIN) {
			must("csvn_wait", csvn_wait(&c, CSVN_READABLE, -1) > 0);
			continue;
		}
		must("csvn_peek", n > 0);
		n -= n % (long)WORD; /* the sender's pieces are whole words */
		total.sum += add_up(bytes, (size_t)n);
		total.bytes += (uint64_t)n;
		must("csvn_consume", csvn_consume(&c, (size_t)n) == 0);
	}
	must("csvn_unmap", csvn_unmap(&c) == 0);
	return total;
}

struct total receive_stream(int fd, enum verb how)
{
	return how == TALK_MAP ? receive_mapped(fd) : receive_pieces(fd, how == TALK_TOUCH);
}

void stream(const struct place *p, double seconds, size_t piece, enum verb how)
{
	char verb = (char)how;
	int fd = connect_to(p);
	struct total sent, received;
	uint64_t began, end;

	send_all(fd, &verb, 1);
	began = now();
	end = began + (uint64_t)(seconds * 1e9);
	sent = how == TALK_MAP ? send_mapped(fd, end, piece) : send_pieces(fd, end, piece, how == TALK_TOUCH);
	/* Its answer shows that all has been received. */
	must("the receiver's answer", receive_all(fd, &received, sizeof(received)));
	end = now();
	close(fd);
	if (received.bytes != sent.bytes || (how != TALK_PASS && received.sum != sent.sum)) {
		fprintf(stderr, "%llu bytes were sent, and %llu received%s\n", (unsigned long long)sent.bytes,
			(unsigned long long)received.bytes, received.bytes == sent.bytes ? ", others" : "");
		exit(1);
	}
	printf("{\"bytes\": %llu, \"per_second\": %.0f}\n", (unsigned long long)sent.bytes,
	       (double)sent.bytes * 1e9 / (double)(end - began));
}
