/* SPDX-License-Identifier: MIT */
/*
 * Both sides of a board at work, while the fuzzer writes to the memory between. As long as it has not, all that is marked is taken; after that
 * the reader still gets indices, comes back from each call, and comes to an end when nobody marks any more.
 */
#include "board.h"
#include "input.h"

#define MOST 64u
#define UPPER 512u /* words of the upper levels' page */

static struct board_shared *memory;
static struct board writer, reader;
static uint8_t *pending; /* of each index: marked, and not taken since */
static uint32_t pending_count;
static uint32_t touched[4096], touched_count; /* words of marks that the next run must find at zero */
static bool honest;

static void touch(uint32_t word)
{
	CHECK(word < BOARD_MARKS && touched_count < sizeof(touched) / sizeof(touched[0]));
	touched[touched_count++] = word;
}

static void mark(struct input *in)
{
	uint32_t index = input_u32(in) % (BOARD_INDICES + BOARD_INDICES / 8);
	bool listened = writer.shared->listening;

	CHECK(board_mark(&writer, index) == (listened && index < BOARD_INDICES));
	if (index >= BOARD_INDICES)
		return;
	CHECK(!writer.shared->listening);
	touch(index / 64);
	pending_count += !pending[index];
	pending[index] = 1;
}

/* Into an array that is no longer than it says. */
static uint32_t take(uint32_t most)
{
	uint32_t *indices = malloc(most ? most * sizeof(*indices) : 1), n;

	CHECK(indices);
	n = board_take(&reader, indices, most);
	CHECK(n <= most);
	for (uint32_t i = 0; i < n; i++) {
		CHECK(indices[i] < BOARD_INDICES);
		pending_count -= pending[indices[i]];
		pending[indices[i]] = 0;
	}
	CHECK(!honest || n == most || pending_count == 0);
	free(indices);
	return n;
}

static void scribble(struct input *in)
{
	uint32_t where = input_u16(in) | (uint32_t)input_byte(in) << 16;
	uint64_t value = input_u32(in), *words = (uint64_t *)(void *)reader.shared;
	uint32_t shift = input_byte(in) % 33;

	/* The upper levels half of the time. */
	where %= where & 0x800000 ? UPPER : (uint32_t)(sizeof(*reader.shared) / 8);
	if (where >= UPPER)
		touch(where - UPPER);
	words[where] = value << shift | value >> shift;
	honest = false;
}

/* What the fuzzer left in the lower levels only is led to by nothing, and may stay. */
static void drain(void)
{
	uint64_t taken = 0;

	while (take(MOST) == MOST)
		CHECK((taken += MOST) <= 2 * BOARD_INDICES);
	CHECK(board_listen(&reader));
	CHECK(take(MOST) == 0);
}

/* As at first, but fast. */
static void begin(void)
{
	if (!memory) {
		memory = aligned_alloc(4096, sizeof(*memory));
		pending = calloc(BOARD_INDICES, 1);
		CHECK(memory && pending);
		memset(memory, 0, sizeof(*memory));
	}
	memset(memory, 0, UPPER * sizeof(uint64_t));
	while (touched_count) {
		uint32_t word = touched[--touched_count];

		memory->marks[word] = 0;
		memset(pending + word * 64, 0, 64);
	}
	pending_count = 0;
	honest = true;
	board_init(&writer, memory);
	board_init(&reader, memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };

	begin();
	while (in.at < in.end && touched_count < sizeof(touched) / sizeof(touched[0])) {
		switch (input_byte(&in) % 8) {
		case 0:
		case 1:
		case 2:
			mark(&in);
			break;
		case 3:
		case 4:
			(void)take(input_byte(&in) % MOST);
			break;
		case 5:
			scribble(&in);
			break;
		case 6:
			if (board_listen(&reader))
				CHECK(!honest || pending_count == 0);
			else
				CHECK(!memory->listening);
			break;
		case 7:
			drain();
			break;
		}
	}
	drain();
	return 0;
}
