/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target without a fuzzer: some inputs of random bytes. It needs no clang, so that the targets are always built and run; what takes a
 * fuzzer's patience to find it does not find.
 *
 *     NAME_smoke [seed]
 */
#include "check.h"
#include "input.h"

#define INPUTS 500u
#define INPUT_MAX 1024u

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	for (uint32_t i = 0; i < INPUTS; i++) {
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
