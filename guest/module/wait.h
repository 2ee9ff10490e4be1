/* SPDX-License-Identifier: GPL-2.0 */
/* Waiting for bytes and for room. See wait.c. */
#ifndef CSVN_MODULE_WAIT_H
#define CSVN_MODULE_WAIT_H

#include "csvn.h"

u32 csvn_spin_most(void);
bool csvn_spin_readable(struct csvn_sock *cs, struct csvn_circuit *c, u32 beyond);
bool csvn_spin_room(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_wait_readable(struct csvn_sock *cs, u32 beyond, long *timeo);
void csvn_wait_room(struct csvn_sock *cs, long *timeo);
void csvn_ask_rx(struct csvn_sock *cs, struct csvn_circuit *c);
void csvn_ask_tx(struct csvn_sock *cs, struct csvn_circuit *c);
bool csvn_arm_readable(struct csvn_sock *cs, u32 beyond);
bool csvn_arm_room(struct csvn_sock *cs);
void csvn_rearm(struct csvn_sock *cs, struct csvn_circuit *c);

/* Look for `due` for a moment before sleeping (spin.h), unless somebody else wants the CPU: true when it came. */
#define csvn_spin(spin, due) ({						\
	bool due_ = (due);						\
	u32 ns_ = due_ ? 0 : csvn_spin_begin(spin, csvn_spin_most());	\
	if (ns_) {							\
		u64 began_ = local_clock(), took_;			\
		do {							\
			cpu_relax();					\
			due_ = (due);					\
			took_ = local_clock() - began_;			\
		} while (!due_ && took_ < ns_ && !need_resched() &&	\
			 !signal_pending(current));			\
		csvn_spin_end(spin, took_, due_);			\
	}								\
	due_; })

#endif
