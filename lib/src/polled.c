/* SPDX-License-Identifier: MIT */
#include "polled.h"

bool polled_add(struct port *p, struct host_circuit *h)
{
	if (!p->polls)
		return false;
	if (h->listed)
		return true;
	if (p->polled_count == POLLED_MAX)
		return false;
	h->listed = true;
	p->polled[p->polled_count++] = h->handle;
	return true;
}

struct host_circuit *polled_get(struct port *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->polled[i]);

	return h && (h->polled_rx || h->polled_tx) ? h : NULL;
}

void polled_drop(struct port *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->polled[i]);

	if (h)
		h->listed = false;
	p->polled[i] = p->polled[--p->polled_count];
}
