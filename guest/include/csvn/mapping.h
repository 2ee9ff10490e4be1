/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What a program and the guest's kernel module agree on about mapping a circuit: see docs/zero-copy.md. Programs
 * rather use guest/include/csvn.h.
 *
 * A connected stream socket whose connection is a circuit can be mapped. To mmap() the socket is two parts of equal
 * length:
 *
 *     mine     own control page, then the transmit ring twice in a row; readable and writable
 *     theirs   the peer's control page, then the receive ring twice in a row; readable
 *
 * A mapping is shared (MAP_SHARED), lies within one part, and is neither executable, inherited by fork(), nor dumped.
 */
#ifndef CSVN_MAPPING_H
#define CSVN_MAPPING_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Of the control pages' layout, the ring's protocol, and the structure below. */
#define CSVN_MAP_VERSION 1u

struct csvn_map_layout {
	__u32 version; /* in: what the program knows; out: what the kernel knows. EPROTONOSUPPORT: not the same */
	__u32 ring_size; /* bytes, a power of two */
	__u64 mine; /* the part's offset for mmap() */
	__u64 theirs;
	__u64 length; /* of each part, bytes */
};

/*
 * Where the parts are. It must come before the first mmap(): from then on the kernel takes its cursors from the own
 * control page too. ENOTTY: no circuit's socket; ENOTCONN: not (any more) connected.
 */
#define CSVN_IOC_MAP _IOWR(0xc5, 1, struct csvn_map_layout)

/* Wake the peer, which sleeps: after publishing or releasing, when its sleep sequence says so. ENOTCONN as above. */
#define CSVN_IOC_KICK _IO(0xc5, 2)

#endif
