/* SPDX-License-Identifier: MIT */
/*
 * Busy-polling before sleeping (../src/busy_poll.h) is worth a processor's time while there are processors. So all ports of a plane together may poll for half of the processors' time, and
 * one at least: when they have polled longer, each gets a limit, the same for all, by which they come to that; when they have not, the limit rises, and is lifted.
 */
#ifndef CSVN_BRAIN_BUDGET_H
#define CSVN_BRAIN_BUDGET_H

#include <stdint.h>

#define BUDGET_PORT 1000u /* thousandths of a processor: a port cannot poll more */

/* What all ports may, in thousandths of a processor. */
uint32_t budget_of_host(void);
/*
 * The next limit for each port, from what each has polled, in thousandths of the time since the last call: as much as a port can have (more is a lie) is taken for each. before: the
 * last limit; 0, as for the result: none.
 */
uint32_t budget_limit(const uint32_t *polled, uint32_t ports, uint32_t budget, uint32_t before);

#endif
