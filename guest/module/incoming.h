/* SPDX-License-Identifier: GPL-2.0 */
/* INCOMING: a circuit that another has made comes to its listener. See incoming.c. */
#ifndef CSVN_MODULE_INCOMING_H
#define CSVN_MODULE_INCOMING_H

#include "csvn.h"

void csvn_incoming(struct csvn_device *dev, const union csvn_record *ev);

#endif
