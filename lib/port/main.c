/* SPDX-License-Identifier: MIT */
/*
 * csvn-port: one front-end's part of the data plane, in a process of its own. It is started by the helper library with what link.h says, and by nobody else:
 *
 *     csvn-port FIRST-ID DESCRIPTORS
 *
 * Its user and group become FIRST-ID plus its process id, unless that is 0. It may have so many descriptors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "events.h"
#include "jail.h"
#include "jail_filter.h"
#include "turn.h"

static struct port port;

#if JAIL_UNFILTERED
/* Leaks are looked for by files of /proc, which a jail has not: that is left to the C tests, where ports are not jailed. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static bool read_number(const char *text, uint32_t *out)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	*out = (uint32_t)value;
	return errno == 0 && *text && !*end && value <= UINT32_MAX;
}

static bool has_descriptors(void)
{
	struct stat st;

	for (int fd = LINK_FRONT; fd < LINK_DESCRIPTORS; fd++)
		if (fstat(fd, &st) < 0)
			return false;
	return true;
}

/* What ends the switch is not for its ports: each stays for as long as its front-end does. */
static void ignore_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
}

/* Nothing was read from the front-end before this. */
static int enter_jail(uint32_t first_id, uint32_t descriptors)
{
	uint32_t id = first_id ? first_id + (uint32_t)getpid() : UINT32_MAX;
	/* What a VM publishes may be a low port, if the switch may have that. */
	struct jail j = { .uid = id, .gid = id, .descriptors = descriptors, .binds_low_ports = true };
	bool stays_root = !first_id && geteuid() == 0;
	char lacks[512];
	int rc;

	rc = jail_enter(&j, lacks, sizeof(lacks));
	if (rc < 0) {
		fprintf(stderr, "csvn-port: cannot enter its jail: %s\n", lacks);
		return rc;
	}
	if (stays_root)
		(void)snprintf(lacks + strlen(lacks), sizeof(lacks) - strlen(lacks), "%sits user is root still, which may not or cannot change it here",
			       rc ? "; " : "");
	port_event_text(&port, CSVN_EVENT_JAILED, first_id != 0, lacks);
	port_turn(&port, false); /* that is told, whether there is anything else or not */
	return 0;
}

int main(int argc, char **argv)
{
	struct port_parts parts = { .front = LINK_FRONT,
				    .memory = LINK_MEMORY,
				    .wake = LINK_WAKE,
				    .files = LINK_FILES,
				    .bell = LINK_BELL };
	uint32_t first_id, descriptors;
	int rc;

	if (argc != 3 || !read_number(argv[1], &first_id) || !read_number(argv[2], &descriptors) || !has_descriptors()) {
		fprintf(stderr, "csvn-port: it is started by the switch, not by hand\n");
		return 2;
	}
	ignore_signals();
	rc = port_open(&port, &parts);
	if (rc < 0) {
		fprintf(stderr, "csvn-port: cannot begin: %s\n", strerror(-rc));
		return 1;
	}
	if (enter_jail(first_id, descriptors) < 0)
		return 1;
	port_run(&port);
	port_close(&port);
	return 0;
}
