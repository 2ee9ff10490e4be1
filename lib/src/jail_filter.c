/* SPDX-License-Identifier: MIT */
/*
 * A list of what is allowed, compared one by one: what is not on it kills the process, also calls that a later kernel has. Calls that are allowed
 * whatever their arguments need no look at the list: the kernel remembers those by number. Arguments that are integers for the kernel are
 * looked at as such, by their lower half. What a pointer points to cannot be looked at, so calls that name files by it are not on the list.
 */
#define _GNU_SOURCE
#include "jail_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the jail does not know this processor's system calls"
#endif

#define INSTRUCTIONS_MAX 512u
#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))

/* As glibc and musl (which sets CLONE_DETACHED too, that means nothing) make a thread. */
#define THREAD                                                                                       \
	((uint32_t)(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | \
		    CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID))

/* With any arguments. Architectures that are younger have not all of them. */
static const uint32_t plain[] = {
	/* bytes */
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_preadv2, SYS_pwritev2, SYS_close,
	/* the end of the switch's output: turn.c */
	SYS_dup3,
#ifdef SYS_dup2
	SYS_dup2,
#endif
	/* sockets */
	SYS_bind, SYS_connect, SYS_listen, SYS_accept4, SYS_shutdown, SYS_getsockname, SYS_getpeername, SYS_getsockopt,
	SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg,
	/* waiting */
	SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll, SYS_eventfd2,
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
	/* signals for eventfds: interrupt.c */
	SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_getevents,
	/* what a descriptor is, by itself: memory.c */
	SYS_fstat, SYS_fstatfs,
	/* memory */
	SYS_munmap, SYS_mremap, SYS_brk,
	/* time */
	SYS_clock_gettime, SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall,
	/* threads */
	SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_membarrier, SYS_sched_yield, SYS_sched_getaffinity, SYS_gettid, SYS_getpid,
	SYS_exit, SYS_exit_group,
	/* signals */
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack,
	SYS_getrandom,
};

struct filter {
	struct sock_filter code[INSTRUCTIONS_MAX];
	uint32_t count;
	bool too_long;
};

static void emit(struct filter *f, uint32_t code, uint32_t jump_true, uint32_t jump_false, uint32_t k)
{
	if (f->count == INSTRUCTIONS_MAX || jump_true > UINT8_MAX || jump_false > UINT8_MAX) {
		f->too_long = true;
		return;
	}
	f->code[f->count++] = (struct sock_filter){ (uint16_t)code, (uint8_t)jump_true, (uint8_t)jump_false, k };
}

static void answer(struct filter *f, uint32_t what)
{
	emit(f, BPF_RET | BPF_K, 0, 0, what);
}

static void load(struct filter *f, uint32_t offset)
{
	emit(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

/* Of an argument; both architectures are little-endian. */
static uint32_t lower_half(uint32_t argument)
{
	return (uint32_t)offsetof(struct seccomp_data, args) + argument * 8;
}

static uint32_t upper_half(uint32_t argument)
{
	return lower_half(argument) + 4;
}

/*
 * What is between these two is for what was loaded last, if it is `value`, and must end with an answer. Behind it is the same loaded still, if it
 * was another.
 */
static uint32_t begin_case(struct filter *f, uint32_t value)
{
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, value);
	return f->count;
}

static void end_case(struct filter *f, uint32_t begun)
{
	/* SAFETY: begin_case() has put an instruction at begun - 1, or there was no room for it and too_long is set. */
	if (f->too_long || f->count - begun > UINT8_MAX) {
		f->too_long = true;
		return;
	}
	f->code[begun - 1].jf = (uint8_t)(f->count - begun);
}

static void answer_case(struct filter *f, uint32_t value, uint32_t what)
{
	uint32_t begun = begin_case(f, value);

	answer(f, what);
	end_case(f, begun);
}

/* Go on only if those bits of a word of the data are one of the values; otherwise it is the process's end. */
static void demand(struct filter *f, uint32_t offset, uint32_t bits, const uint32_t *values, uint32_t count)
{
	load(f, offset);
	emit(f, BPF_ALU | BPF_AND | BPF_K, 0, 0, bits);
	/* Over the values that are left, and over the answer behind them. */
	for (uint32_t i = 0; i < count; i++)
		emit(f, BPF_JMP | BPF_JEQ | BPF_K, count - i, 0, values[i]);
	answer(f, SECCOMP_RET_KILL_PROCESS);
}

#define DEMAND(f, offset, bits, ...)                                               \
	do {                                                                       \
		const uint32_t demanded[] = { __VA_ARGS__ };                       \
		demand((f), (offset), (bits), demanded, COUNT(demanded));          \
	} while (0)

static void filter_socket(struct filter *f)
{
	uint32_t begun = begin_case(f, SYS_socket);

	DEMAND(f, lower_half(0), UINT32_MAX, AF_INET, AF_INET6);
	DEMAND(f, lower_half(1), ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), SOCK_STREAM, SOCK_DGRAM);
	DEMAND(f, lower_half(2), UINT32_MAX, 0, IPPROTO_TCP, IPPROTO_UDP);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
}

/* Those that some file of the data plane sets, on a level. */
static void filter_options(struct filter *f, uint32_t level, const uint32_t *options, uint32_t count)
{
	uint32_t begun = begin_case(f, level);

	demand(f, lower_half(2), UINT32_MAX, options, count);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
}

static void filter_setsockopt(struct filter *f)
{
	static const uint32_t any[] = { SO_REUSEADDR, SO_KEEPALIVE, SO_LINGER, SO_SNDBUF, SO_RCVBUF };
	static const uint32_t tcp[] = { TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_SYNCNT, TCP_CONGESTION };
	static const uint32_t four[] = { IP_TOS, IP_TTL, IP_RECVTOS, IP_RECVTTL, IP_RECVERR, IP_PKTINFO };
	static const uint32_t six[] = { IPV6_TCLASS, IPV6_UNICAST_HOPS, IPV6_V6ONLY, IPV6_RECVTCLASS,
					IPV6_RECVHOPLIMIT, IPV6_RECVERR, IPV6_RECVPKTINFO };
	uint32_t begun = begin_case(f, SYS_setsockopt);

	load(f, lower_half(1));
	filter_options(f, SOL_SOCKET, any, COUNT(any));
	filter_options(f, IPPROTO_TCP, tcp, COUNT(tcp));
	filter_options(f, IPPROTO_IP, four, COUNT(four));
	filter_options(f, IPPROTO_IPV6, six, COUNT(six));
	answer(f, SECCOMP_RET_KILL_PROCESS);
	end_case(f, begun);
}

/* F_SETFL is not there: the flags of a file are shared with whoever else has it. */
static void filter_descriptors(struct filter *f)
{
	uint32_t begun = begin_case(f, SYS_fcntl);

	DEMAND(f, lower_half(1), UINT32_MAX, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GET_SEALS);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
	begun = begin_case(f, SYS_ioctl);
	DEMAND(f, lower_half(1), UINT32_MAX, FIONREAD);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
}

/*
 * No MADV_REMOVE: a hole that is made in memory that is shared keeps waiting whoever touches it, the brain for one. C libraries try others, and do without if
 * the kernel does not know them.
 */
static void filter_advice(struct filter *f)
{
	static const uint32_t known[] = { MADV_DONTNEED, MADV_FREE, MADV_DONTDUMP };
	uint32_t begun = begin_case(f, SYS_madvise);

	load(f, lower_half(2));
	for (uint32_t i = 0; i < COUNT(known); i++)
		answer_case(f, known[i], SECCOMP_RET_ALLOW);
	answer(f, SECCOMP_RET_ERRNO | EINVAL);
	end_case(f, begun);
}

static void filter_memory(struct filter *f)
{
	static const uint32_t calls[] = { SYS_mmap, SYS_mprotect };

	for (uint32_t i = 0; i < COUNT(calls); i++) {
		uint32_t begun = begin_case(f, calls[i]);

		DEMAND(f, lower_half(2), PROT_EXEC, 0);
		answer(f, SECCOMP_RET_ALLOW);
		end_case(f, begun);
	}
}

static void filter_process(struct filter *f)
{
	uint32_t begun = begin_case(f, SYS_clone);

	DEMAND(f, lower_half(0), ~(uint32_t)CLONE_DETACHED, THREAD);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
	begun = begin_case(f, SYS_tgkill); /* abort() */
	DEMAND(f, lower_half(0), UINT32_MAX, (uint32_t)getpid());
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
	begun = begin_case(f, SYS_prctl);
	DEMAND(f, lower_half(0), UINT32_MAX, PR_SET_NAME);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
	begun = begin_case(f, SYS_prlimit64); /* getrlimit(): its own, and no new one */
	DEMAND(f, lower_half(0), UINT32_MAX, 0);
	DEMAND(f, lower_half(2), UINT32_MAX, 0);
	DEMAND(f, upper_half(2), UINT32_MAX, 0);
	answer(f, SECCOMP_RET_ALLOW);
	end_case(f, begun);
}

static void build(struct filter *f)
{
	DEMAND(f, (uint32_t)offsetof(struct seccomp_data, arch), UINT32_MAX, ARCHITECTURE);
	load(f, (uint32_t)offsetof(struct seccomp_data, nr));
	for (uint32_t i = 0; i < COUNT(plain); i++)
		answer_case(f, plain[i], SECCOMP_RET_ALLOW);
	filter_socket(f);
	filter_setsockopt(f);
	filter_descriptors(f);
	filter_memory(f);
	filter_advice(f);
	filter_process(f);
	/*
	 * What the C library tries, and does well without: it then makes threads by clone(); it does not know how the system
	 * overcommits memory, for which free() looks now and then; and it takes a stream's usual buffer.
	 */
	answer_case(f, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
	answer_case(f, SYS_openat, SECCOMP_RET_ERRNO | EACCES);
	answer_case(f, SYS_newfstatat, SECCOMP_RET_ERRNO | EACCES);
	answer(f, SECCOMP_RET_KILL_PROCESS);
}

int jail_filter(void)
{
	struct filter f = { .count = 0 };
	struct sock_fprog program = { .filter = f.code };

	build(&f);
	if (f.too_long)
		return -E2BIG;
	program.len = (unsigned short)f.count;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
