// SPDX-License-Identifier: MIT
/* What becomes of a touch of memory that may not be there; in any thread. */
#include <pthread.h>
#include <setjmp.h>

#include "zero.h"

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t touching;

static void caught(int number)
{
	if (touching)
		siglongjmp(back, number);
	signal(number, SIG_DFL); /* not ours: it happens again */
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = caught };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

/* The byte there, which is set to 0 if asked for, or minus the signal that came. */
static int touch(volatile uint8_t *at, bool write)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int number;

	pthread_once(&once, catch_signals);
	number = sigsetjmp(back, 1);
	if (!number) {
		touching = 1;
		number = -*at;
		if (write)
			*at = 0;
	}
	touching = 0;
	return -number;
}

int byte_at(const void *at)
{
	return touch((volatile uint8_t *)at, false);
}

int reads(const void *at)
{
	int byte = byte_at(at);

	return byte < 0 ? -byte : 0;
}

int writes(void *at)
{
	int byte = touch(at, true);

	return byte < 0 ? -byte : 0;
}

const char *signal_name(int number)
{
	return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : number ? "another signal" : "nothing";
}
