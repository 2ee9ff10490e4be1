/* SPDX-License-Identifier: MIT */
/*
 * A port's user and group: a number from the plane's first on, plus the port's process id. So no two processes that live have the same, whichever switch
 * they are of, and for how long they go on without it.
 */
#ifndef CSVN_BRAIN_IDS_H
#define CSVN_BRAIN_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define IDS_COUNT (1u << 22) /* process ids, at most */

/* Is this process allowed to give them, and are they known here? */
bool ids_can(uint32_t first);

#endif
