// SPDX-License-Identifier: MIT
#include "zero.h"

uint64_t next_number(struct bytes *b)
{
	b->state ^= b->state << 13;
	b->state ^= b->state >> 7;
	b->state ^= b->state << 17;
	return b->state;
}

void make_bytes(struct bytes *b, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(next_number(b) >> 32);
}

bool same_bytes(struct bytes *b, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != (uint8_t)(next_number(b) >> 32))
			return false;
	return true;
}
