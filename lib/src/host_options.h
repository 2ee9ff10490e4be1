/* SPDX-License-Identifier: MIT */
/* The options of the guest's socket, on the host's. */
#ifndef CSVN_HOST_OPTIONS_H
#define CSVN_HOST_OPTIONS_H

#include "port.h"

/* Read what must be known for it, once: in a port's jail that cannot be had. What the host allows later is for ports that begin later. */
void host_options_begin(void);
void host_set_options(int fd, const struct csvn_options *o);
/*
 * Nobody is there any more who would end a connection whose peer takes nothing: it ends by itself when that has lasted for ORPHAN_MS, or for as long as
 * the guest has chosen, if that is less.
 */
#define ORPHAN_MS (5u * 60 * 1000)
void host_limit_wait(int fd);

/* A command; the number is the brain's. */
void host_options(struct port *p, int handle, const struct csvn_options *o);

#endif
