/* SPDX-License-Identifier: GPL-2.0 */
/* debugfs csvn/circuits: what each open circuit's cursors and sleep sequences are, for finding out who waits for whom. See debug.c. */
#ifndef CSVN_MODULE_DEBUG_H
#define CSVN_MODULE_DEBUG_H

#include "csvn.h"

void csvn_debug_init(void);
void csvn_debug_exit(void);

#endif
