/* SPDX-License-Identifier: MIT */
/* Which system calls a port may make: those of the data plane, of the C library's threads and memory, and with the arguments that these use. */
#ifndef CSVN_JAIL_FILTER_H
#define CSVN_JAIL_FILTER_H

/*
 * A sanitizer's runtime makes system calls of its own, so a library that is built with one has no filter.
 * clang's word for it is a feature.
 */
#ifdef __has_feature
#define JAIL_HAS_FEATURE(x) __has_feature(x)
#else
#define JAIL_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || JAIL_HAS_FEATURE(address_sanitizer) || \
	JAIL_HAS_FEATURE(thread_sanitizer) || JAIL_HAS_FEATURE(memory_sanitizer)
#define JAIL_UNFILTERED 1
#else
#define JAIL_UNFILTERED 0
#endif

/* From now on, for this process: no_new_privs must be set, and there must be no other thread. 0 or -errno. */
int jail_filter(void);

#endif
