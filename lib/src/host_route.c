/* SPDX-License-Identifier: MIT */
#include "host_route.h"

#include "wake.h"

void host_add_route(struct port *p, uint32_t id, int kind, int handle)
{
	route_set(&p->device.routes, id, kind, (uint32_t)handle, 0);
}

void host_drop_route(struct port *p, uint32_t id, int handle)
{
	struct route *r = route_find(&p->device.routes, id);

	if (r && (r->to == ROUTE_HOST_STREAM || r->to == ROUTE_HOST_DATAGRAM) && r->place == (uint32_t)handle)
		route_drop(&p->device.routes, r);
}

void host_wake(struct port *p, uint32_t id)
{
	struct route *r = route_find(&p->device.routes, id);

	if (!r)
		return;
	route_list(&p->device.routes, ROUTES_DUE, r);
	wake_flush(p, &p->device);
}
