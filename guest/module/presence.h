/* SPDX-License-Identifier: GPL-2.0 */
/* Is the switch there? It is met, lost, and met again. See presence.c. */
#ifndef CSVN_MODULE_PRESENCE_H
#define CSVN_MODULE_PRESENCE_H

#include "csvn.h"

void csvn_presence_init(struct csvn_device *dev);
int csvn_presence_begin(struct csvn_device *dev, unsigned int ms);
bool csvn_presence_end(struct csvn_device *dev);
void csvn_presence_exit(struct csvn_device *dev);

#endif
