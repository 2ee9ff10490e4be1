/* SPDX-License-Identifier: MIT */
/* Zeroing a range of an arena. */
#ifndef CSVN_JANITOR_WIPE_H
#define CSVN_JANITOR_WIPE_H

#include <stdint.h>

#define WIPE_MAX 65536u /* bytes zeroed in place */

/*
 * Zero a range; page multiples. Its pages keep their memory when they come to at most keep bytes (WIPE_MAX at most) in a few pieces; otherwise they go back to the
 * system. Returns how many bytes have memory behind them now, or -errno.
 *
 * It takes the lock of the file's inode, and may so wait for whoever holds that, for ever.
 */
int wipe(int fd, uint64_t offset, uint64_t bytes, uint32_t keep);

#endif
