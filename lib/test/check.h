/* SPDX-License-Identifier: MIT */
/* What the C tests share: a check that says where it failed, and a seeded generator. */
#ifndef CSVN_TEST_CHECK_H
#define CSVN_TEST_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(cond)                                                                              \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                                 \
		}                                                                                \
	} while (0)

static uint64_t test_random_state;

static inline uint64_t test_random(void)
{
	test_random_state ^= test_random_state << 13;
	test_random_state ^= test_random_state >> 7;
	test_random_state ^= test_random_state << 17;
	return test_random_state;
}

/* A number below `limit`. */
static inline uint32_t test_below(uint32_t limit)
{
	return (uint32_t)(test_random() >> 16) % limit;
}

/* The seed is argv[1], or the time; it is printed, so that a failure can be had again. */
static inline void test_seed(int argc, char **argv)
{
	test_random_state = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	printf("%s: seed %" PRIu64 "\n", argv[0], test_random_state);
	fflush(stdout);
	test_random_state = test_random_state * 2654435761u + 1;
}

#endif
