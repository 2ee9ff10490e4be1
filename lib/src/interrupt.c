/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "interrupt.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * That the context's ring has room for at least. All that there may be on a host (fs.aio-max-nr, 65,536) are for as many ports as
 * it has.
 */
#define COMPLETIONS 16u
#define REAP_AT (COMPLETIONS / 2)
#define TRIES 3
#define NOWHERE (UINT64_MAX - 4095) /* an address */

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

/* Have nothing read to a buffer of so many bytes, and the eventfd signalled when that is done. 0 or -errno: then it is not. */
static int submit(struct interrupter *i, int eventfd, uint64_t buffer, uint64_t bytes)
{
	struct iocb read = { .aio_lio_opcode = IOCB_CMD_PREAD,
			     .aio_fildes = (uint32_t)i->file,
			     .aio_buf = buffer,
			     .aio_nbytes = bytes,
			     .aio_flags = IOCB_FLAG_RESFD,
			     .aio_resfd = (uint32_t)eventfd };
	struct iocb *batch[1] = { &read };

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

int interrupter_signal(struct interrupter *i, int eventfd)
{
	return submit(i, eventfd, 0, 0);
}

bool interrupter_knows(struct interrupter *i, int fd)
{
	/* The kernel first looks whether it is an eventfd, and only then finds that the buffer is where no process has memory. */
	return submit(i, fd, NOWHERE, 1) == -EFAULT;
}
