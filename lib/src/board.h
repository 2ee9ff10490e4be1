/* SPDX-License-Identifier: MIT */
/*
 * A board: wake words from one process to another. The writer marks indices, the reader takes them, each once however often it was marked
 * meanwhile. It lies in memory that both have mapped, for one direction of one pair, so that nobody else is hurt by what either writes there.
 *
 * Theory of operation. A bit for each index, a bit for each word of these that may not be zero, and so on, three levels high. The writer sets bits
 * from the bottom to the top; the reader clears words from the top to the bottom, and follows each bit that it found. So a bit below is always
 * led to, by the bits above or by what the reader has of them, and a word that was never marked is never looked at: its page stays
 * untouched. All accesses are sequentially consistent, so one can think of them in one order: a reader that misses a mark has cleared the
 * word above before the writer comes there, and so leaves the bit there that the writer sets then.
 *
 * Sleeping: the reader says that it listens, and looks again; the writer marks, and looks whether the reader listens.
 *
 * Neither trusts the other. A reader's call goes around the board once, however fast a writer sets bits anew; whatever a writer puts there, it is
 * some index below BOARD_INDICES, or a look in vain. One thread at a time is the reader, and one the writer.
 */
#ifndef CSVN_BOARD_H
#define CSVN_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#define BOARD_INDICES (1u << 20)
#define BOARD_MARKS (BOARD_INDICES / 64) /* words of each level */
#define BOARD_GROUPS (BOARD_MARKS / 64)
#define BOARD_TOPS (BOARD_GROUPS / 64)

/* All zero is an empty board. The upper levels are in the first page; the marks, a page for 32,768 indices, are sparse. */
struct board_shared {
	_Alignas(64) uint32_t listening; /* the reader's, but the writer clears it when it rings */
	_Alignas(64) uint64_t tops[BOARD_TOPS]; /* a bit for each word of groups */
	_Alignas(64) uint64_t groups[BOARD_GROUPS]; /* a bit for each word of marks */
	_Alignas(4096) uint64_t marks[BOARD_MARKS];
};

_Static_assert(sizeof(struct board_shared) == 4096 + BOARD_INDICES / 8, "board size");

/* One side of it, in that side's own memory. Of the writer only shared is used. */
struct board {
	struct board_shared *shared;
	/* What the reader has found and not followed yet: bits of a word of each level, and which word it is. */
	uint64_t top, group, mark;
	uint32_t top_at, group_at, mark_at;
};

/* A side of a new board, at memory of sizeof(struct board_shared) that is aligned to 4096. */
void board_init(struct board *b, void *memory);

/* The writer's: mark an index below BOARD_INDICES. Does the reader listen, and must it be rung? It is told once. */
bool board_mark(struct board *b, uint32_t index);

/*
 * The reader's: take up to `most` marked indices. How many there were; fewer than most: whatever was marked before this call has been taken.
 * Those that there was no room for are the first of the next call.
 */
uint32_t board_take(struct board *b, uint32_t *indices, uint32_t most);
/* Before the reader sleeps. False: there is something, it does not listen. */
bool board_listen(struct board *b);
/* It is awake, whoever woke it, and wants no ringing. */
void board_awake(struct board *b);

#endif
