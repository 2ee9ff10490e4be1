/* SPDX-License-Identifier: MIT */
/* A port for each input. */
#ifndef CSVN_FUZZ_FRESH_PORT_H
#define CSVN_FUZZ_FRESH_PORT_H

#include "fuzz_descriptors.h"
#include "port_client.h"

/* Open one: how many descriptors there were before. What stays is there from the first one on. */
static inline int fresh_port(struct client *c)
{
	static bool warm;
	int before;

	if (!warm) {
		client_open(c, -1);
		client_close(c);
		warm = true;
	}
	before = descriptors_count();
	client_open(c, -1);
	return before;
}

#endif
