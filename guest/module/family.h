/* SPDX-License-Identifier: GPL-2.0 */
/* The takeover of PF_INET and PF_INET6. See family.c. */
#ifndef CSVN_MODULE_FAMILY_H
#define CSVN_MODULE_FAMILY_H

#include "csvn.h"

int csvn_family_init(void);
void csvn_family_exit(void);

#endif
