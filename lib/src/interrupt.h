/* SPDX-License-Identifier: MIT */
/*
 * Signalling other people's eventfds. write() waits when one is full and whoever shares it has cleared O_NONBLOCK, and no flag of a single write
 * prevents that. The kernel itself never waits there: so it is asked to read nothing from a file of ours, and to signal the eventfd when
 * that is done, which is at once (Linux AIO, IOCB_FLAG_RESFD).
 */
#ifndef CSVN_INTERRUPT_H
#define CSVN_INTERRUPT_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>

struct interrupter {
	aio_context_t context;
	int file; /* -1: none */
	uint32_t unreaped; /* completions in the context's ring */
};

int interrupter_open(struct interrupter *i); /* 0 or -errno */
void interrupter_close(struct interrupter *i);
/* 0; -EAGAIN: the kernel has no memory for it now; -EINVAL: it is no eventfd. */
int interrupter_signal(struct interrupter *i, int eventfd);
/*
 * Is it an eventfd? Neither its file is asked, nor is it signalled, nor does it take a name in /proc. Where the kernel has no memory for the question, it is
 * none.
 */
bool interrupter_knows(struct interrupter *i, int fd);

#endif
