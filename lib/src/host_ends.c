/* SPDX-License-Identifier: MIT */
#include "host_ends.h"

#include "datagram_circuit.h"
#include "host_arena.h"
#include "host_circuit.h"
#include "host_connection.h"
#include "host_listener.h"

void host_end(struct port *p)
{
	struct host_connection *c;
	struct host_listener *l;
	struct host_datagram *g;
	struct host_circuit *h;
	struct host_arena *a;

	handle_for_each(&p->host_connections, i, c)
		host_connection_destroy(p, c);
	handle_for_each(&p->host_listeners, i, l)
		host_listener_destroy(p, l);
	handle_for_each(&p->host_circuits, i, h)
		host_circuit_destroy(p, h);
	handle_for_each(&p->host_datagrams, i, g)
		datagram_destroy(p, g);
	handle_for_each(&p->host_arenas, i, a)
		host_arena_destroy(p, a);
	handle_table_free(&p->host_listeners);
	handle_table_free(&p->host_connections);
	handle_table_free(&p->host_circuits);
	handle_table_free(&p->host_datagrams);
	handle_table_free(&p->host_arenas);
}
