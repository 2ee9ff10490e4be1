/* SPDX-License-Identifier: MIT */
/* All host ends, of whatever kind. */
#ifndef CSVN_HOST_ENDS_H
#define CSVN_HOST_ENDS_H

#include "port.h"

/* Close them, with their sockets. */
void host_end(struct port *p);

#endif
