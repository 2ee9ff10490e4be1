/* SPDX-License-Identifier: MIT */
/* vhost-user messages on a stream socket, cut and glued at random: each comes out whole, once, with its descriptors. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "interrupt.h"
#include "stream.h"

static int brought; /* by messages: an eventfd */
static int first = -1; /* what comes before those that are brought; -1: nothing else */
static struct interrupter interrupter;

static uint32_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void send_part(int fd, const uint8_t *bytes, uint32_t count, uint32_t fds)
{
	char control[CMSG_SPACE(253 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = count };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds) {
		int *out;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(fds * sizeof(int));
		out = (int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
		for (uint32_t i = 0; i < fds; i++)
			out[i] = i == 0 && first >= 0 ? first : brought;
	}
	CHECK(sendmsg(fd, &msg, 0) == (ssize_t)count);
}

static void take(struct stream *s, uint32_t *received)
{
	CHECK(s->header[0] == *received);
	for (uint32_t i = 0; i < s->header[2]; i++)
		CHECK(s->payload[i] == (uint8_t)(*received + i));
	CHECK(s->descriptors == s->header[1]);
	for (uint32_t i = 0; i < s->descriptors; i++)
		CHECK(close(s->fds[i]) == 0);
	stream_next(s);
	(*received)++;
}

static void test_pieces(void)
{
	static uint8_t bytes[STREAM_HEADER + CSVN_MESSAGE_MAX];
	uint32_t before = open_descriptors(), sent = 0, received = 0;
	struct stream s;
	int pair[2], rc;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	stream_init(&s, pair[0], &interrupter);
	while (sent < 3000) {
		uint32_t size = test_below(4) ? test_below(64) : test_below(CSVN_MESSAGE_MAX + 1);
		uint32_t fds = test_below(3) ? 0 : test_below(CSVN_MESSAGE_FDS + 1), at = 0;
		uint32_t header[3] = { sent, fds, size };

		memcpy(bytes, header, sizeof(header));
		for (uint32_t i = 0; i < size; i++)
			bytes[STREAM_HEADER + i] = (uint8_t)(sent + i);
		while (at < STREAM_HEADER + size) {
			uint32_t left = STREAM_HEADER + size - at, n = test_below(3) ? left : 1 + test_below(left);

			send_part(pair[1], bytes + at, n, fds);
			fds = 0;
			at += n;
			while (test_below(2) && (rc = stream_read(&s)) != 0) {
				CHECK(rc == 1);
				take(&s, &received);
			}
		}
		sent++;
		/* Do not let the socket fill up. */
		if (test_below(4) == 0)
			while (stream_read(&s) == 1)
				take(&s, &received);
	}
	while ((rc = stream_read(&s)) == 1)
		take(&s, &received);
	CHECK(rc == 0 && received == sent);
	close(pair[1]);
	CHECK(stream_read(&s) == -EPIPE);
	stream_close(&s);
	CHECK(open_descriptors() == before);
}

/* Descriptors of files that are of no use, among others that are. */
static void test_useless(void)
{
	int before = (int)open_descriptors(), file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), kept = brought;

	for (uint32_t round = 0; round < 100; round++) {
		uint32_t header[3] = { 1, 1, 0 };
		struct stream s;
		int pair[2];

		CHECK(file >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		stream_init(&s, pair[0], &interrupter);
		send_part(pair[1], (const uint8_t *)header, 4, 1 + test_below(3));
		brought = file;
		send_part(pair[1], (const uint8_t *)header + 4, 8, 1 + test_below(3));
		brought = kept;
		CHECK(stream_read(&s) == -EBADF);
		stream_close(&s);
		close(pair[1]);
	}
	close(file);
	/* Others may be closing them. */
	for (int i = 0; (int)open_descriptors() != before; i++) {
		CHECK(i < 10000);
		usleep(1000);
	}
}

/* Useful ones behind a useless one are closed once: their numbers may be others' by the time that the stream is. */
static void test_closed_once(void)
{
	uint32_t header[3] = { 1, 1, 0 };
	int pair[2], others[8];
	struct stream s;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	stream_init(&s, pair[0], &interrupter);
	first = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	send_part(pair[1], (const uint8_t *)header, sizeof(header), 4);
	CHECK(stream_read(&s) == -EBADF);
	for (int i = 0; i < 8; i++)
		others[i] = fcntl(brought, F_DUPFD_CLOEXEC, 0);
	stream_close(&s);
	for (int i = 0; i < 8; i++)
		CHECK(close(others[i]) == 0);
	close(first);
	close(pair[1]);
	first = -1;
}

/* Payloads over the limit, descriptors over the limit, ends in the middle: an error each, and no descriptor stays. */
static void test_wrong(void)
{
	uint32_t before = open_descriptors();

	for (uint32_t round = 0; round < 2000; round++) {
		uint32_t header[3] = { 1, 1, round % 2 ? CSVN_MESSAGE_MAX + 1 + test_below(1u << 31) : 8 };
		uint32_t fds = round % 2 ? test_below(9) : 9 + test_below(test_below(10) ? 8 : 245);
		struct stream s;
		int pair[2];

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		stream_init(&s, pair[0], &interrupter);
		send_part(pair[1], (const uint8_t *)header, sizeof(header), fds);
		CHECK(stream_read(&s) == (round % 2 ? -EMSGSIZE : -E2BIG));
		stream_close(&s);
		close(pair[1]);
	}
	for (uint32_t cut = 1; cut < STREAM_HEADER + 8; cut++) {
		uint32_t bytes[5] = { 1, 1, 8, 0, 0 };
		struct stream s;
		int pair[2];

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		stream_init(&s, pair[0], &interrupter);
		send_part(pair[1], (const uint8_t *)bytes, cut, 3);
		CHECK(stream_read(&s) == 0);
		close(pair[1]);
		CHECK(stream_read(&s) == -EPIPE);
		stream_close(&s);
	}
	CHECK(open_descriptors() == before);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	CHECK(interrupter_open(&interrupter) == 0);
	brought = eventfd(0, EFD_CLOEXEC);
	CHECK(brought >= 0);
	test_pieces();
	test_wrong();
	test_useless();
	test_closed_once();
	return 0;
}
