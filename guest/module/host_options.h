/* SPDX-License-Identifier: GPL-2.0 */
/* Options that mean something to the socket at the other end of a circuit to the host's stack. See host_options.c. */
#ifndef CSVN_MODULE_HOST_OPTIONS_H
#define CSVN_MODULE_HOST_OPTIONS_H

#include "csvn.h"

void csvn_host_options_get(const struct sock *sk, const struct csvn_options *told, struct csvn_options *o);
void csvn_host_options_tell(struct csvn_sock *cs);

#endif
