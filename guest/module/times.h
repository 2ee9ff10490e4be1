/* SPDX-License-Identifier: GPL-2.0 */
/* SO_TIMESTAMP and its relatives: the time that goes with what was received. See times.c. */
#ifndef CSVN_MODULE_TIMES_H
#define CSVN_MODULE_TIMES_H

#include "csvn.h"

void csvn_put_times(struct sock *sk, struct msghdr *msg);

#endif
