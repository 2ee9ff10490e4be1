/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * How long to look for something before sleeping: one rule for the guest's kernel, programs that map circuits, and the host's helper.
 *
 * A look costs the processor that looks; a wake-up costs both sides tens of microseconds, and hundreds where the processors are
 * emulated. Two sides that answer each other at once are fast when both look, and slow for ever when both sleep, each
 * because of the other. So the rule goes by how long sleeps last: after one that was shorter than two longest looks, the next wait
 * begins with a look of twice its length; after a longer one with none. A look that paid is followed by one that is at least
 * twice as long as it took. After CSVN_SPIN_VAIN looks in vain there is none for CSVN_SPIN_REST waits.
 */
#ifndef CSVN_SPIN_H
#define CSVN_SPIN_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif

#define CSVN_SPIN_FIRST 16000u /* ns: of something new, and the shortest */
#define CSVN_SPIN_VAIN 3u
#define CSVN_SPIN_REST 16u

struct csvn_spin {
	__u32 ns; /* of the next look; 0: none */
	__u32 vain; /* looks in vain since one paid */
	__u32 rest; /* waits without a look that are left */
};

static inline void csvn_spin_init(struct csvn_spin *s)
{
	s->ns = CSVN_SPIN_FIRST;
	s->vain = s->rest = 0;
}

/* How long to look now, in ns: 0 for not at all, most at most. */
static inline __u32 csvn_spin_begin(struct csvn_spin *s, __u32 most)
{
	if (s->rest) {
		s->rest--;
		return 0;
	}
	return s->ns < most ? s->ns : most;
}

/* After a look of ns: has it paid? If it has not, csvn_spin_slept() follows. */
static inline void csvn_spin_end(struct csvn_spin *s, __u32 ns, bool paid)
{
	__u32 kept = s->ns - s->ns / 8;

	if (paid) {
		s->ns = 2 * ns > kept ? 2 * ns : kept;
		if (s->ns < CSVN_SPIN_FIRST)
			s->ns = CSVN_SPIN_FIRST;
		s->vain = 0;
	} else if (++s->vain >= CSVN_SPIN_VAIN) {
		s->vain = 0;
		s->rest = CSVN_SPIN_REST;
	}
}

/* After a sleep of ns. */
static inline void csvn_spin_slept(struct csvn_spin *s, __u64 ns, __u32 most)
{
	if (ns >= 2 * (__u64)most)
		s->ns = 0;
	else if (2 * ns > s->ns)
		s->ns = (__u32)(2 * ns);
}

#endif
