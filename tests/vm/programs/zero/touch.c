// SPDX-License-Identifier: MIT
/* What becomes of a touch of memory that may not be there. */
#include <setjmp.h>

#include "zero.h"

static sigjmp_buf back;

static void caught(int number)
{
	siglongjmp(back, number);
}

static int touch(volatile uint8_t *at, bool write)
{
	struct sigaction action = { .sa_handler = caught }, bus, segv;
	int number;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	number = sigsetjmp(back, 1);
	if (!number) {
		if (write)
			*at = 0;
		else
			(void)*at;
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return number;
}

int reads(const void *at)
{
	return touch((volatile uint8_t *)at, false);
}

int writes(void *at)
{
	return touch(at, true);
}

const char *signal_name(int number)
{
	return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : number ? "another signal" : "nothing";
}
