/* SPDX-License-Identifier: GPL-2.0 */
/* Credit: how many more connections a listener takes. See credit.c. */
#ifndef CSVN_MODULE_CREDIT_H
#define CSVN_MODULE_CREDIT_H

#include "csvn.h"

void csvn_credit_init(struct csvn_listener *l);
void csvn_credit_end(struct csvn_listener *l);
void csvn_credit(struct csvn_sock *cs, struct csvn_device *dev, bool accepted);

#endif
