/* SPDX-License-Identifier: MIT */
/* Arenas that the port has mapped, for the host's ends of circuits. */
#ifndef CSVN_HOST_ARENA_H
#define CSVN_HOST_ARENA_H

#include "host.h"

/* Commands; numbers are the brain's. 0 or -errno. */
int host_arena_map(struct port *p, int handle, int fd, uint64_t bytes);
void host_arena_unmap(struct port *p, int handle);
void host_arena_destroy(struct port *p, struct host_arena *a);
/* Find a setup's extents in its arena. */
int host_map_end(struct port *p, struct csvn_end *end, const struct csvn_host_setup *s);

#endif
