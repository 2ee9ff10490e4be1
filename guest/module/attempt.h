/* SPDX-License-Identifier: GPL-2.0 */
/* A CONNECT under way. See attempt.c. */
#ifndef CSVN_MODULE_ATTEMPT_H
#define CSVN_MODULE_ATTEMPT_H

#include "csvn.h"

struct csvn_attempt *csvn_attempt_new(struct csvn_device *dev, struct csvn_owner *owner, const struct csvn_endpoint *local,
				      const struct csvn_endpoint *remote, u32 protocol, gfp_t gfp);
void csvn_attempt_put(struct csvn_attempt *a);
struct csvn_circuit *csvn_attempt_granted(struct csvn_attempt *a, int *error);

#endif
