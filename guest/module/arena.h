/* SPDX-License-Identifier: GPL-2.0 */
/* Arenas: the pieces of the window that have memory behind them. See arena.c. */
#ifndef CSVN_MODULE_ARENA_H
#define CSVN_MODULE_ARENA_H

#include "csvn.h"

void csvn_arenas_init(struct csvn_device *dev);
void csvn_arenas_drop(struct csvn_device *dev);
int csvn_arena_find(struct csvn_device *dev, u32 id, u64 *offset, u64 *length);
void csvn_arena_prepare(struct csvn_device *dev, const union csvn_record *ev);
void csvn_arena_mapped(struct csvn_device *dev, const union csvn_record *ev);
void csvn_arena_retire(struct csvn_device *dev, const union csvn_record *ev);

#endif
