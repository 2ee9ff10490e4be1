/* SPDX-License-Identifier: GPL-2.0 */
/* All circuits of a device end, because it goes, or because its switch is gone. See circuit_lost.c. */
#ifndef CSVN_MODULE_CIRCUIT_LOST_H
#define CSVN_MODULE_CIRCUIT_LOST_H

#include "csvn.h"

bool csvn_lock_by(struct mutex *m, unsigned long deadline);
bool csvn_circuits_lost(struct csvn_device *dev);

#endif
