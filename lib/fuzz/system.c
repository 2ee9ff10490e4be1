/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets have in the place of some calls of the port's (the linker's --wrap).
 *
 * One interrupter serves all ports, one after another: the kernel takes 30 ms to give one back, and an input is to take less than one. It holds
 * nothing but completions that nobody asks for.
 *
 * What is closed is open: nobody closes a descriptor twice, whose number may be another's by then.
 *
 * Standard error stays what it is: a port that goes on alone lets go of it, and the fuzzer reports there.
 */
#include <errno.h>

#include "check.h"
#include "interrupt.h"

int __real_close(int fd);
int __real_interrupter_open(struct interrupter *i);
int __wrap_close(int fd);
int __wrap_dup2(int from, int to);
int __wrap_interrupter_open(struct interrupter *i);
void __wrap_interrupter_close(struct interrupter *i);

static struct interrupter shared = { .file = -1 };

int __wrap_interrupter_open(struct interrupter *i)
{
	int rc = shared.file < 0 ? __real_interrupter_open(&shared) : 0;

	*i = shared;
	return rc;
}

void __wrap_interrupter_close(struct interrupter *i)
{
	if (i->file < 0)
		return;
	shared.unreaped = i->unreaped;
	i->file = -1;
}

int __wrap_close(int fd)
{
	int rc = __real_close(fd);

	CHECK(rc == 0 || errno != EBADF);
	return rc;
}

int __wrap_dup2(int from, int to)
{
	(void)from;
	return to;
}
