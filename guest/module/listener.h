/* SPDX-License-Identifier: GPL-2.0 */
/* All listeners, of streams and of datagrams: by their ids, and as the switch knows them. See listener.c. */
#ifndef CSVN_MODULE_LISTENER_H
#define CSVN_MODULE_LISTENER_H

#include "csvn.h"

struct csvn_listener *csvn_listener_find(u32 id);
int csvn_listener_publish(struct csvn_listener *l);
int csvn_listener_tell(struct csvn_listener *l, unsigned int ms);
void csvn_listener_retract(struct csvn_listener *l);
void csvn_listeners_register(struct csvn_device *dev);
void csvn_listeners_exit(void);

#endif
