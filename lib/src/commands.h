/* SPDX-License-Identifier: MIT */
/* The brain's commands (csvn_command_kind). */
#ifndef CSVN_COMMANDS_H
#define CSVN_COMMANDS_H

#include <stdbool.h>

struct port;

/* Do those that have come, as many as a turn has. True: there may be more. */
bool commands_obey(struct port *p);

#endif
