/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "interrupt.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COMPLETIONS 64u /* that the context's ring has room for at least */
#define REAP_AT (COMPLETIONS / 2)
#define TRIES 3

int interrupter_open(struct interrupter *i)
{
	i->context = 0;
	i->unreaped = 0;
	i->file = memfd_create("csvn-nothing", MFD_CLOEXEC);
	if (i->file < 0)
		return -errno;
	if (syscall(SYS_io_setup, COMPLETIONS, &i->context) < 0) {
		int rc = -errno;

		close(i->file);
		i->file = -1;
		return rc;
	}
	return 0;
}

void interrupter_close(struct interrupter *i)
{
	if (i->file < 0)
		return;
	(void)syscall(SYS_io_destroy, i->context);
	close(i->file);
	i->file = -1;
}

/* Nobody wants to know what became of the reads, but their completions take room. */
static void reap(struct interrupter *i)
{
	struct io_event completed[COMPLETIONS];
	struct timespec now = { 0, 0 };

	while (syscall(SYS_io_getevents, i->context, 0, COMPLETIONS, completed, &now) == (long)COMPLETIONS)
		;
	i->unreaped = 0;
}

int interrupter_signal(struct interrupter *i, int eventfd)
{
	struct iocb nothing = { .aio_lio_opcode = IOCB_CMD_PREAD,
				.aio_fildes = (uint32_t)i->file,
				.aio_flags = IOCB_FLAG_RESFD,
				.aio_resfd = (uint32_t)eventfd };
	struct iocb *batch[1] = { &nothing };

	for (int tries = 0; tries < TRIES; tries++) {
		if (syscall(SYS_io_submit, i->context, 1, batch) == 1) {
			if (++i->unreaped >= REAP_AT)
				reap(i);
			return 0;
		}
		if (errno != EAGAIN)
			return -errno;
		reap(i);
	}
	return -EAGAIN;
}
