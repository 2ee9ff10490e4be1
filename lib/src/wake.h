/* SPDX-License-Identifier: MIT */
/* Wakes out: see wake.c. */
#ifndef CSVN_WAKE_H
#define CSVN_WAKE_H

#include "port.h"

/* Write the wakes that are due to the wake queue, as the driver has buffers there. */
void wake_flush(struct port *p, struct device *d);

#endif
