// SPDX-License-Identifier: MIT
#include "zero.h"

static const struct {
	const char *name;
	void (*run)(int argc, char **argv);
} programs[] = {
	{ "pump", pump },     { "rights", rights },	{ "inherit", inherit }, { "ends", ends },
	{ "halves", halves }, { "scribble", scribble }, { "look", look },	{ "cycles", cycles },
	{ "storm", storm },   { "hold", hold },
};

void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

void check(const char *what, bool holds)
{
	if (holds)
		return;
	printf("not so: %s\n", what);
	exit(1);
}

void refused(const char *what, long result, int err)
{
	if (result == -1 && errno == err)
		return;
	printf("%s: %ld, %s, and not %s\n", what, result, result == -1 ? strerrorname_np(errno) : "-",
	       strerrorname_np(err));
	exit(1);
}

static struct sockaddr_in endpoint(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((in_port_t)port) };

	check("an IPv4 address", inet_pton(AF_INET, address, &to.sin_addr) == 1);
	return to;
}

int dial(const char *address, int port)
{
	struct sockaddr_in to = endpoint(address, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("connect");
	return fd;
}

int listener(int port)
{
	struct sockaddr_in at = endpoint("0.0.0.0", port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0)
		fail("listen");
	return fd;
}

int welcome(int fd)
{
	int accepted = accept(fd, NULL, NULL);

	if (accepted < 0)
		fail("accept");
	return accepted;
}

void map(struct csvn *c, int fd)
{
	int err = csvn_map(c, fd);

	if (err < 0) {
		errno = -err;
		fail("csvn_map");
	}
}

void nap(unsigned int ms)
{
	usleep(ms * 1000);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(programs) / sizeof(programs[0]); i++) {
		if (strcmp(argv[1], programs[i].name))
			continue;
		programs[i].run(argc - 2, argv + 2);
		puts("passed");
		return 0;
	}
	fprintf(stderr, "which?\n");
	return 2;
}
