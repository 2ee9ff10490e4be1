/* SPDX-License-Identifier: MIT */
#include "events.h"

#include <stdlib.h>
#include <string.h>

bool port_taken(struct port *p)
{
	(void)queue_room(&p->link.events);
	if (p->link.events.other == p->taken)
		return false;
	p->taken = p->link.events.other;
	p->epoch++;
	return true;
}

bool port_admits(struct port *p, struct burst *b, uint32_t bytes)
{
	if (b->epoch != p->epoch) {
		b->epoch = p->epoch;
		b->count = 0;
	}
	if (b->count >= EVENT_BURST || !backlog_is_empty(&p->backlog) ||
	    queue_room(&p->link.events) < bytes + sizeof(struct csvn_record)) {
		p->stalled = true;
		p->counters.stalls++;
		return false;
	}
	b->count++;
	return true;
}

void port_event(struct port *p, enum csvn_event_kind kind, int handle, uint32_t aux, struct event_part a,
		struct event_part b)
{
	/* The queue puts the length of a csvn_record before it. */
	struct csvn_record r = { .kind = kind, .handle = handle, .aux = aux };
	struct queue_part parts[3] = { { &r.kind, sizeof(r) - QUEUE_HEADER }, { a.bytes, a.count }, { b.bytes, b.count } };

	p->news = true;
	if (!backlog_is_empty(&p->backlog) || queue_put(&p->link.events, parts, 3) < 0)
		backlog_put(&p->backlog, parts, 3);
}

void port_event_text(struct port *p, enum csvn_event_kind kind, uint32_t aux, const char *text)
{
	port_event(p, kind, 0, aux, (struct event_part){ text, (uint32_t)strlen(text) },
		   (struct event_part){ NULL, 0 });
}
