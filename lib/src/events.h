/* SPDX-License-Identifier: MIT */
/* Events to the brain. */
#ifndef CSVN_EVENTS_H
#define CSVN_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

struct event_part {
	const void *bytes;
	uint32_t count;
};

/* Has the brain taken events since this was asked last? Then another epoch begins. */
bool port_taken(struct port *p);
/* May this object queue an event of so many bytes? If not, it is to stop, and is resumed later. */
bool port_admits(struct port *p, struct burst *b, uint32_t bytes);
/* Ordinary events were asked room for; others come all the same. */
void port_event(struct port *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		struct event_part b);
void port_event_text(struct port *p, enum csvn_event_kind kind, uint32_t aux, const char *text);

#endif
