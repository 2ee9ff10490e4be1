/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: the fuzzer's bytes as a script, and a check that ends it. */
#ifndef CSVN_FUZZ_INPUT_H
#define CSVN_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                              \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond); \
			abort();                                                                 \
		}                                                                                \
	} while (0)

struct input {
	const uint8_t *at, *end;
};

/* Zero behind the end. */
static inline uint8_t input_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint32_t input_u16(struct input *in)
{
	uint32_t low = input_byte(in);

	return low | (uint32_t)input_byte(in) << 8;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t low = input_u16(in);

	return low | input_u16(in) << 16;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#endif
