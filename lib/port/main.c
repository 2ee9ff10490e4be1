/* SPDX-License-Identifier: MIT */
/*
 * csvn-port: one front-end's part of the data plane, in a process of its own. It is started by the helper library with what link.h says, and by nobody else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "port.h"

static struct port port;

int main(void)
{
	struct port_parts parts = { .front = LINK_FRONT,
				    .memory = LINK_MEMORY,
				    .wake = LINK_WAKE,
				    .files = LINK_FILES,
				    .bell = LINK_BELL };
	struct rlimit limit;
	struct stat st;
	int rc;

	for (int fd = LINK_FRONT; fd < LINK_DESCRIPTORS; fd++)
		if (fstat(fd, &st) < 0) {
			fprintf(stderr, "csvn-port: it is started by the switch, not by hand\n");
			return 2;
		}
	/* What ends the switch is not for its ports: each stays for as long as its front-end does. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	rc = port_open(&port, &parts);
	if (rc < 0) {
		fprintf(stderr, "csvn-port: cannot begin: %s\n", strerror(-rc));
		return 1;
	}
	port_run(&port);
	port_close(&port);
	return 0;
}
