// SPDX-License-Identifier: MIT
/*
 * Holds a mapping while somebody else does something, told by lines on standard input.
 *
 *     hold ADDRESS PORT            of somebody who sends something
 *
 * Lines: "touch" says what a touch brings, "read" what is there, "close" closes the socket, "unmap" unmaps, "wait"
 * waits for bytes.
 */
#include "zero.h"

void hold(int argc, char **argv)
{
	const void *bytes;
	struct csvn c;
	char line[64];
	long n;

	check("two arguments", argc == 2);
	map(&c, dial(argv[0], atoi(argv[1])));
	puts("mapped");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "touch\n")) {
			printf("own %s, ", signal_name(writes(c.end.tx)));
			printf("peer's %s\n", signal_name(reads(c.end.peer)));
		} else if (!strcmp(line, "read\n")) {
			n = csvn_peek(&c, 1, &bytes);
			printf("%s\n", n > 0 ? "bytes" : n ? strerrorname_np((int)-n) : "end of file");
		} else if (!strcmp(line, "wait\n")) {
			n = csvn_wait(&c, CSVN_READABLE, 20000);
			printf("%s\n", n > 0 ? "readable" : n ? strerrorname_np((int)-n) : "time is up");
		} else if (!strcmp(line, "error\n")) {
			n = recv(c.fd, line, 1, MSG_DONTWAIT);
			printf("%s\n", n > 0 ? "bytes" : n ? strerrorname_np(errno) : "end of file");
		} else if (!strcmp(line, "close\n")) {
			printf("%s\n", close(c.fd) ? "not closed" : "closed");
		} else if (!strcmp(line, "unmap\n")) {
			printf("%s\n", csvn_unmap(&c) ? "not unmapped" : "unmapped");
		}
	}
}
