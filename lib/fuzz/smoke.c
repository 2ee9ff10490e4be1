/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target without a fuzzer: some inputs of random bytes. It needs no clang, so that the targets are always built and run; what takes a
 * fuzzer's patience to find it does not find.
 *
 *     NAME_smoke [seed]
 */
#include "check.h"
#include "input.h"

#define INPUTS 500u /* at least, */
#define LEAST_MS 300 /* and for as long */
#define INPUT_MAX 1024u

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	uint64_t began = milliseconds();

	test_seed(argc, argv);
	for (uint32_t i = 0; i < INPUTS || milliseconds() - began < LEAST_MS; i++) {
		uint32_t count = test_below(INPUT_MAX);
		/* As long as it says, so that a sanitizer sees what is read beyond. */
		uint8_t *bytes = malloc(count ? count : 1);

		CHECK(bytes);
		for (uint32_t k = 0; k < count; k++)
			bytes[k] = (uint8_t)test_below(256);
		CHECK(LLVMFuzzerTestOneInput(bytes, count) == 0);
		free(bytes);
	}
	return 0;
}
