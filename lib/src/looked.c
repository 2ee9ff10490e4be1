/* SPDX-License-Identifier: MIT */
#include "looked.h"

bool looked_add(struct port *p, struct host_circuit *h)
{
	if (!p->looks)
		return false;
	if (h->listed)
		return true;
	if (p->looked_count == LOOKED_MAX)
		return false;
	h->listed = true;
	p->looked[p->looked_count++] = h->handle;
	return true;
}

struct host_circuit *looked_get(struct port *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->looked[i]);

	return h && (h->looks_rx || h->looks_tx) ? h : NULL;
}

void looked_drop(struct port *p, uint32_t i)
{
	struct host_circuit *h = handle_get(&p->host_circuits, p->looked[i]);

	if (h)
		h->listed = false;
	p->looked[i] = p->looked[--p->looked_count];
}
