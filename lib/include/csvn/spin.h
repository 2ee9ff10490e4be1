/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * How long to look for something before sleeping: one rule for the guest's kernel, programs that map circuits, and the host's helper.
 *
 * A look costs the processor that looks; a wake-up costs both sides tens of microseconds. A look that paid is followed by
 * a longer one, up to `most`; one in vain by a shorter one, and soon by none. But every CSVN_SPIN_PROBE sleeps it is tried
 * again at full length, for two sides that both sleep never find out how soon they would answer if they did not.
 */
#ifndef CSVN_SPIN_H
#define CSVN_SPIN_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <linux/types.h>
#include <stdbool.h>
#endif

#define CSVN_SPIN_FIRST 16000u /* ns: of something new, and of the first look that pays again */
#define CSVN_SPIN_LEAST 4000u
#define CSVN_SPIN_PROBE 16u

struct csvn_spin {
	__u32 ns; /* of the next look; 0: none */
	__u32 skipped; /* sleeps since the last look */
};

static inline void csvn_spin_init(struct csvn_spin *s)
{
	s->ns = CSVN_SPIN_FIRST;
	s->skipped = 0;
}

/* How long to look now, in ns: 0 for not at all, most at most. */
static inline __u32 csvn_spin_begin(struct csvn_spin *s, __u32 most)
{
	if (s->ns)
		return s->ns < most ? s->ns : most;
	if (++s->skipped < CSVN_SPIN_PROBE)
		return 0;
	s->skipped = 0;
	return most;
}

/* After a look of ns, as it was begun: has it paid? */
static inline void csvn_spin_end(struct csvn_spin *s, __u32 ns, bool paid)
{
	if (paid)
		s->ns = ns * 2 > CSVN_SPIN_FIRST ? ns * 2 : CSVN_SPIN_FIRST;
	else
		s->ns = s->ns && ns / 2 >= CSVN_SPIN_LEAST ? ns / 2 : 0;
}

#endif
