/* SPDX-License-Identifier: MIT */
#include "board.h"

/* Those of all levels, and of listening, are in one order: see board.h. */
static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void set(uint64_t *word, uint32_t bit)
{
	(void)__atomic_fetch_or(word, 1ull << bit, __ATOMIC_SEQ_CST);
}

/* The bits of a word, which is zero then. One that is zero already is left alone: not even its cache line is asked for. */
static uint64_t clear(uint64_t *word)
{
	return load(word) ? __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST) : 0;
}

void board_init(struct board *b, void *memory)
{
	*b = (struct board){ .shared = memory };
}

bool board_mark(struct board *b, uint32_t index)
{
	struct board_shared *s = b->shared;
	uint32_t mark = index / 64, group = mark / 64, top = group / 64;

	if (index >= BOARD_INDICES)
		return false;
	/*
	 * SAFETY: index < BOARD_INDICES, so mark < BOARD_MARKS, group < BOARD_GROUPS, top < BOARD_TOPS. The lowest is set even if it is set
	 * already: what was written before the mark is for whoever takes it.
	 */
	set(&s->marks[mark], index % 64);
	if (!(load(&s->groups[group]) >> mark % 64 & 1))
		set(&s->groups[group], mark % 64);
	if (!(load(&s->tops[top]) >> group % 64 & 1))
		set(&s->tops[top], group % 64);
	if (!__atomic_load_n(&s->listening, __ATOMIC_SEQ_CST))
		return false;
	/* It may have woken by itself by now, and listen again: then the ringing, which comes after this, wakes it once more. */
	__atomic_store_n(&s->listening, 0, __ATOMIC_RELAXED);
	return true;
}

/* The lowest bit of what was found, which is not zero, without it. */
static uint32_t take_bit(uint64_t *found)
{
	uint32_t bit = (uint32_t)__builtin_ctzll(*found);

	*found &= *found - 1;
	return bit;
}

uint32_t board_take(struct board *b, uint32_t *indices, uint32_t most)
{
	struct board_shared *s = b->shared;
	uint32_t count = 0, tops = 0;

	/*
	 * Once around: each word at the top is cleared once at most, and with it each below, however fast a writer sets them again. It begins behind
	 * the last, so that low indices do not keep high ones waiting.
	 *
	 * SAFETY: each place is a place in the level above times 64, and a bit; top_at < BOARD_TOPS.
	 */
	while (count < most) {
		if (b->mark) {
			indices[count++] = b->mark_at * 64 + take_bit(&b->mark);
		} else if (b->group) {
			b->mark_at = b->group_at * 64 + take_bit(&b->group);
			b->mark = clear(&s->marks[b->mark_at]);
		} else if (b->top) {
			b->group_at = b->top_at * 64 + take_bit(&b->top);
			b->group = clear(&s->groups[b->group_at]);
		} else if (tops++ < BOARD_TOPS) {
			b->top_at = (b->top_at + 1) % BOARD_TOPS;
			b->top = clear(&s->tops[b->top_at]);
		} else {
			break;
		}
	}
	return count;
}

/* May there be something? */
static bool has_some(const struct board *b)
{
	uint64_t found = b->top | b->group | b->mark;

	for (uint32_t i = 0; i < BOARD_TOPS; i++)
		found |= load(&b->shared->tops[i]);
	return found != 0;
}

bool board_listen(struct board *b)
{
	__atomic_store_n(&b->shared->listening, 1, __ATOMIC_SEQ_CST);
	if (!has_some(b))
		return true;
	board_awake(b);
	return false;
}

void board_awake(struct board *b)
{
	__atomic_store_n(&b->shared->listening, 0, __ATOMIC_RELAXED);
}
