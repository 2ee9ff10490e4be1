/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: the fuzzer's bytes as a script. A check that fails ends the process, which the fuzzer takes for a find. */
#ifndef CSVN_FUZZ_INPUT_H
#define CSVN_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "check.h"

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

static inline uint64_t input_u64(struct input *in)
{
	uint64_t low = input_u32(in);

	return low | (uint64_t)input_u32(in) << 32;
}

/* A number below `limit`, at most 65536. */
static inline uint32_t input_below(struct input *in, uint32_t limit)
{
	return (limit > 256 ? input_u16(in) : input_byte(in)) % limit;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#endif
