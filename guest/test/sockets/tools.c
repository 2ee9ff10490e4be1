/* SPDX-License-Identifier: MIT */
/* What all cases use. */
#define _GNU_SOURCE
#include "sockets.h"

#include <signal.h>
#include <stdarg.h>
#include <time.h>

struct sockaddr_in there = { .sin_family = AF_INET };
struct sockaddr_in6 there6 = { .sin6_family = AF_INET6 };
const char *program;

void saw(const char *format, ...)
{
	char line[4096];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		_exit(3);
}

long did(const char *what, long result)
{
	int error = errno;

	if (result < 0 && error)
		saw("%s: %s", what, strerrorname_np(error));
	else
		saw("%s: %ld", what, result);
	errno = error;
	return result;
}

long must(const char *what, long result)
{
	if (result >= 0)
		return result;
	saw("%s: %s, and must work", what, strerrorname_np(errno));
	exit(1);
}

void saw_mask(const char *what, unsigned int mask)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} bits[] = { { POLLIN, "IN" },   { POLLOUT, "OUT" }, { POLLPRI, "PRI" },
		     { POLLERR, "ERR" }, { POLLHUP, "HUP" }, { 0x2000, "RDHUP" } };
	char text[64] = "";

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		if (!(mask & bits[i].bit))
			continue;
		strcat(text, " ");
		strcat(text, bits[i].name);
	}
	saw("%s:%s", what, *text ? text : " nothing");
}

void saw_events(const char *what, int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	poll(&p, 1, ms);
	saw_mask(what, (unsigned short)p.revents);
}

void saw_bytes(const char *what, const void *bytes, long size)
{
	if (size < 0)
		did(what, size);
	else
		saw("%s: %ld \"%.*s\"", what, size, (int)size, (const char *)bytes);
}

struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);

	MUST(getsockname(fd, (struct sockaddr *)&name, &length));
	return name;
}

/* Where it is reached: for calls that reach.c knows nothing of. */
struct sockaddr_in reached_name_of(int fd)
{
	struct sockaddr_in name = name_of(fd);

	name.sin_addr = reached.sin_addr;
	return name;
}

int listener(int backlog)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	MUST(listen(fd, backlog));
	return fd;
}

int dial(const struct sockaddr_in *to)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(connect(fd, (const struct sockaddr *)to, sizeof(*to)));
	return fd;
}

struct pair connected(void)
{
	int l = listener(8);
	struct sockaddr_in to = name_of(l);
	struct pair p = { .a = dial(&to) };

	p.b = (int)MUST(accept(l, NULL, NULL));
	close(l);
	return p;
}

void close_both(struct pair p)
{
	close(p.a);
	close(p.b);
}

size_t fill(int fd)
{
	static const char bytes[1 << 16];
	size_t total = 0, before;
	ssize_t n;

	for (int idle = 0; idle < 4; idle = total == before ? idle + 1 : 0) {
		before = total;
		/* Room that comes meanwhile is not filled byte by byte. */
		while ((n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0 || (n = send(fd, bytes, 1, MSG_DONTWAIT)) > 0)
			total += (size_t)n;
		settle();
	}
	return total;
}

short await_ms(int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	poll(&p, 1, ms);
	return p.revents;
}

short await(int fd, short events)
{
	return await_ms(fd, events, 5000);
}

void arrived(int fd, int bytes)
{
	for (int n = 0, i = 0; i < 500 && (ioctl(fd, FIONREAD, &n) < 0 || n < bytes); i++)
		nap(10);
}

void nap(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

void settle(void)
{
	nap(100);
}

void timeout(int fd, int name, int ms)
{
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	MUST(setsockopt(fd, SOL_SOCKET, name, &t, sizeof(t)));
}

int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int get_int(int fd, int level, int name)
{
	socklen_t size = sizeof(int);
	int value = 0;

	if (getsockopt(fd, level, name, &value, &size) < 0)
		return -1;
	errno = 0; /* the value may be -1 */
	return value;
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *later_main(void *argument)
{
	struct later *l = argument;

	nap(l->ms);
	l->act(l->fd);
	return NULL;
}

void later(struct later *l, int ms, void (*act)(int fd), int fd)
{
	sigset_t all, before;

	*l = (struct later){ .ms = ms, .act = act, .fd = fd };
	sigfillset(&all); /* signals are for the case */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&l->thread, NULL, later_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void finished(struct later *l)
{
	pthread_join(l->thread, NULL);
}

void send_late(int fd)
{
	if (send(fd, "late", 4, MSG_NOSIGNAL) != 4)
		saw("the late send failed");
}
