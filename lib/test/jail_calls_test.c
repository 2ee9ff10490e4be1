/* SPDX-License-Identifier: MIT */
/*
 * The jail's filter of system calls: what a port has no need of is refused or ends it. A build with a sanitizer has none (see jail_filter.h), and
 * says so instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "foreign.h"
#include "jailed.h"

static int dup_of(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	CHECK(copy >= 0);
	return copy;
}

/* What a front-end may send is told apart by itself: there are no names in /proc. */
static void tell_kinds(void)
{
	int e = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), s = socket(AF_INET, SOCK_STREAM, 0);
	struct interrupter *i = &have.interrupter;
	struct stat st;
	uint64_t count;

	/* Also while there are signals whose completions have not been taken. */
	for (uint32_t round = 0; round < 1000; round++) {
		CHECK(foreign_kind(i, e) == FOREIGN_EVENTFD);
		CHECK(round % 3 || (interrupter_signal(i, e) == 0 && foreign_kind(i, e) == FOREIGN_EVENTFD));
	}
	CHECK(read(e, &count, sizeof(count)) == sizeof(count) && count == 334);
	CHECK(foreign_kind(i, e) == FOREIGN_EVENTFD && read(e, &count, sizeof(count)) < 0 && errno == EAGAIN); /* it was not signalled */
	CHECK(foreign_kind(i, have.memory) == FOREIGN_MEMORY && foreign_stat(have.memory, &st) == 0 && st.st_size == 1 << 20);
	CHECK(foreign_kind(i, have.channel) == FOREIGN_CHANNEL && foreign_kind(i, s) == FOREIGN_OTHER);
	CHECK(foreign_kind(i, have.pipe) == FOREIGN_OTHER && foreign_kind(i, have.timer) == FOREIGN_OTHER);
	CHECK(foreign_kind(i, -1) == FOREIGN_OTHER && foreign_stat(-1, &st) == -EBADF);
	/* In a thread, which must be had. */
	for (uint32_t n = 0; n < 100; n++)
		foreign_close(i, dup_of(have.pipe));
	foreign_close(i, dup_of(have.channel)); /* which is its end */
	foreign_close(i, e);
	foreign_close(i, s);
	e = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(interrupter_signal(&have.interrupter, e) == 0 && read(e, &count, sizeof(count)) == sizeof(count) && count == 1);
}

static void test_abort(void)
{
	pid_t child = begin_child();
	int status;

	if (child == 0) {
		enter(&as_it_is);
		abort();
	}
	status = end_of(child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !WCOREDUMP(status));
}

/* What waited when it was stopped goes on afterwards, by a system call of its own. */
static void test_stopped(void)
{
	pid_t child = begin_child();
	int status;

	if (child == 0) {
		struct timespec moment = { 1, 0 };

		enter(&as_it_is);
		CHECK(nanosleep(&moment, NULL) == 0);
		_exit(0);
	}
	usleep(300000);
	CHECK(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
	CHECK(kill(child, SIGCONT) == 0 && end_of(child) == 0);
}

/* What is not allowed: system calls by their numbers, and arguments of which some would do. */

struct call {
	const char *name;
	long number;
	long args[6];
	int refused; /* with this error; 0: it dies */
};

static void test_calls(void)
{
#define FORK SIGCHLD, 0, 0, 0, 0
	static char path[] = "/etc/hostname", *argv[] = { path, NULL };
	const long p = (long)path, parent = getpid();
	const struct call calls[] = {
		{ "openat", SYS_openat, { AT_FDCWD, p, O_RDONLY }, EACCES },
		{ "newfstatat", SYS_newfstatat, { AT_FDCWD, p, (long)&have }, EACCES },
		{ "clone3", SYS_clone3, { 0, 0 }, ENOSYS },
#ifdef __x86_64__
		{ "open", SYS_open, { p, O_RDONLY }, 0 },
		{ "stat", SYS_stat, { p, (long)&have }, 0 },
		{ "readlink", SYS_readlink, { p, (long)&have, 1 }, 0 },
		{ "unlink", SYS_unlink, { p }, 0 },
		{ "fork", SYS_fork, { 0 }, 0 },
		{ "vfork", SYS_vfork, { 0 }, 0 },
		{ "modify_ldt", SYS_modify_ldt, { 0 }, 0 },
		{ "x32's read", SYS_read | 0x40000000, { 0 }, 0 },
#endif
		{ "openat2", SYS_openat2, { AT_FDCWD, p, 0, 0 }, 0 },
		{ "readlinkat", SYS_readlinkat, { AT_FDCWD, p, (long)&have, 1 }, 0 },
		{ "statx", SYS_statx, { AT_FDCWD, p, 0, 0, 0 }, 0 },
		{ "unlinkat", SYS_unlinkat, { AT_FDCWD, p, 0 }, 0 },
		{ "open_by_handle_at", SYS_open_by_handle_at, { AT_FDCWD, 0, 0 }, 0 },
		{ "name_to_handle_at", SYS_name_to_handle_at, { AT_FDCWD, p, 0, 0, 0 }, 0 },
		{ "chroot", SYS_chroot, { p }, 0 },
		{ "chdir", SYS_chdir, { p }, 0 },
		{ "mount", SYS_mount, { p, p, p, 0, 0 }, 0 },
		{ "move_mount", SYS_move_mount, { AT_FDCWD, p, AT_FDCWD, p, 0 }, 0 },
		{ "fsopen", SYS_fsopen, { p, 0 }, 0 },
		{ "execve", SYS_execve, { (long)"/bin/true", (long)argv, 0 }, 0 },
		{ "execveat", SYS_execveat, { AT_FDCWD, (long)"/bin/true", (long)argv, 0, 0 }, 0 },
		{ "clone for a process", SYS_clone, { FORK }, 0 },
		{ "clone with a user namespace", SYS_clone, { CLONE_NEWUSER | FORK }, 0 },
		{ "clone of a thread with a namespace", SYS_clone, { 0x3d0f00 | CLONE_NEWNET, 0, 0, 0, 0 }, 0 },
		{ "unshare", SYS_unshare, { CLONE_NEWUSER }, 0 },
		{ "setns", SYS_setns, { 0, 0 }, 0 },
		{ "ptrace", SYS_ptrace, { 0, 0, 0, 0 }, 0 },
		{ "process_vm_readv", SYS_process_vm_readv, { parent, 0, 0, 0, 0, 0 }, 0 },
		{ "process_vm_writev", SYS_process_vm_writev, { parent, 0, 0, 0, 0, 0 }, 0 },
		{ "kcmp", SYS_kcmp, { parent, parent, 0, 0, 0 }, 0 },
		{ "kill of the parent", SYS_kill, { parent, 0 }, 0 },
		{ "tgkill of the parent", SYS_tgkill, { parent, parent, 0 }, 0 },
		{ "tkill", SYS_tkill, { parent, 0 }, 0 },
		{ "rt_sigqueueinfo", SYS_rt_sigqueueinfo, { parent, 0, 0 }, 0 },
		{ "pidfd_open", SYS_pidfd_open, { parent, 0 }, 0 },
		{ "pidfd_getfd", SYS_pidfd_getfd, { 0, 0, 0 }, 0 },
		{ "pidfd_send_signal", SYS_pidfd_send_signal, { 0, 0, 0, 0 }, 0 },
		{ "bpf", SYS_bpf, { 0, 0, 0 }, 0 },
		{ "perf_event_open", SYS_perf_event_open, { 0, 0, 0, 0, 0 }, 0 },
		{ "userfaultfd", SYS_userfaultfd, { 0 }, 0 },
		{ "io_uring_setup", SYS_io_uring_setup, { 1, 0 }, 0 },
		{ "memfd_create", SYS_memfd_create, { p, 0 }, 0 },
		{ "keyctl", SYS_keyctl, { 0, 0, 0, 0, 0 }, 0 },
		{ "add_key", SYS_add_key, { p, p, 0, 0, 0 }, 0 },
		{ "shmget", SYS_shmget, { 0, 4096, 0 }, 0 },
		{ "inotify_init1", SYS_inotify_init1, { 0 }, 0 },
		{ "fanotify_init", SYS_fanotify_init, { 0, 0 }, 0 },
		{ "personality", SYS_personality, { 0xffffffff }, 0 },
		{ "seccomp", SYS_seccomp, { 2, 0, 0 }, 0 },
		{ "capset", SYS_capset, { 0, 0 }, 0 },
		{ "setuid", SYS_setuid, { 0 }, 0 },
		{ "prctl(PR_SET_DUMPABLE)", SYS_prctl, { PR_SET_DUMPABLE, 1, 0, 0, 0 }, 0 },
		{ "prctl(PR_SET_SECCOMP)", SYS_prctl, { PR_SET_SECCOMP, 0, 0, 0, 0 }, 0 },
		{ "prlimit64 of the parent", SYS_prlimit64, { parent, RLIMIT_NOFILE, 0, (long)&have }, 0 },
		{ "prlimit64 with a new limit", SYS_prlimit64, { 0, RLIMIT_NOFILE, (long)&have, 0 }, 0 },
		{ "prlimit64 with a new limit at 4 GiB", SYS_prlimit64, { 0, RLIMIT_NOFILE, 1l << 32, 0 }, 0 },
		{ "setrlimit", SYS_setrlimit, { RLIMIT_CORE, (long)&have }, 0 },
		{ "sched_setaffinity", SYS_sched_setaffinity, { 0, 0, 0 }, 0 },
		{ "socket(AF_UNIX)", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, 0 },
		{ "socket(AF_NETLINK)", SYS_socket, { AF_NETLINK, SOCK_DGRAM, 0 }, 0 },
		{ "socket(AF_PACKET)", SYS_socket, { AF_PACKET, SOCK_DGRAM, 0 }, 0 },
		{ "socket(AF_VSOCK)", SYS_socket, { AF_VSOCK, SOCK_STREAM, 0 }, 0 },
		{ "socket(SOCK_RAW)", SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_TCP }, 0 },
		{ "socket(IPPROTO_ICMP)", SYS_socket, { AF_INET, SOCK_DGRAM, IPPROTO_ICMP }, 0 },
		{ "socket(IPPROTO_MPTCP)", SYS_socket, { AF_INET, SOCK_STREAM, 262 }, 0 },
		{ "socketpair", SYS_socketpair, { AF_UNIX, SOCK_STREAM, 0, (long)&have }, 0 },
		{ "setsockopt(SO_ATTACH_FILTER)", SYS_setsockopt, { have.channel, SOL_SOCKET, SO_ATTACH_FILTER, 0, 0 }, 0 },
		{ "setsockopt(SO_BINDTODEVICE)", SYS_setsockopt, { have.channel, SOL_SOCKET, SO_BINDTODEVICE, 0, 0 }, 0 },
		{ "setsockopt(SO_MARK)", SYS_setsockopt, { have.channel, SOL_SOCKET, SO_MARK, 0, 0 }, 0 },
		{ "setsockopt(TCP_ULP)", SYS_setsockopt, { have.channel, IPPROTO_TCP, TCP_ULP, 0, 0 }, 0 },
		{ "setsockopt(SOL_UDP)", SYS_setsockopt, { have.channel, IPPROTO_UDP, 100, 0, 0 }, 0 },
		{ "mmap(PROT_EXEC)", SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 }, 0 },
		{ "mprotect(PROT_EXEC)", SYS_mprotect, { (long)&have & ~4095l, 4096, PROT_READ | PROT_EXEC }, 0 },
		{ "madvise(MADV_REMOVE)", SYS_madvise, { (long)&have & ~4095l, 4096, MADV_REMOVE }, EINVAL },
		{ "pkey_mprotect", SYS_pkey_mprotect, { (long)&have & ~4095l, 4096, PROT_READ, -1 }, 0 },
		{ "fcntl(F_SETFL)", SYS_fcntl, { have.channel, F_SETFL, 0 }, 0 },
		{ "fcntl(F_SETOWN)", SYS_fcntl, { have.channel, F_SETOWN, parent }, 0 },
		{ "fcntl(F_ADD_SEALS)", SYS_fcntl, { have.memory, F_ADD_SEALS, 1 }, 0 },
		{ "fcntl(F_SETLKW)", SYS_fcntl, { have.memory, F_SETLKW, 0 }, 0 },
		{ "ioctl(TIOCSTI)", SYS_ioctl, { 0, TIOCSTI, p }, 0 },
		{ "ioctl(FIOASYNC)", SYS_ioctl, { have.channel, FIOASYNC, (long)&have }, 0 },
		{ "ftruncate", SYS_ftruncate, { have.memory, 0 }, 0 },
		{ "fallocate", SYS_fallocate, { have.memory, 0, 0, 0 }, 0 },
		{ "splice", SYS_splice, { 0, 0, 0, 0, 0, 0 }, 0 },
		{ "dup", SYS_dup, { 0 }, 0 },
		{ "a call that there is not", 5000, { 0 }, 0 },
	};

	for (uint32_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const struct call *c = &calls[i];
		const long *a = c->args;
		pid_t child = begin_child();
		int status;

		if (child == 0) {
			enter(&as_it_is);
			errno = 0;
			(void)syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
			/* A child of its own would come here too. */
			syscall(SYS_exit_group, errno < 200 ? errno : 200);
		}
		status = end_of(child);
		if (c->refused ? status != c->refused << 8 : !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) {
			fprintf(stderr, "%s: status %#x\n", c->name, (unsigned)status);
			CHECK(!"it was stopped");
		}
	}
}

#ifdef __x86_64__
static void call_32(void)
{
	long rc = 20; /* getpid, there; here it is writev */

	__asm__ volatile("int $0x80" : "+a"(rc) : : "memory", "r8", "r9", "r10", "r11");
}

/* The other way into the kernel, where the numbers mean something else. */
static void test_other_architecture(void)
{
	pid_t child = begin_child();
	int status;

	if (child == 0) {
		enter(&as_it_is);
		call_32();
		_exit(0);
	}
	status = end_of(child);
	/* A kernel without that way has its own answer. */
	CHECK(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
}
#endif

static void *wait_for_end(void *fd)
{
	char byte;

	(void)!read(*(int *)fd, &byte, 1);
	return NULL;
}

static void test_other_thread(void)
{
	pid_t child = begin_child();

	if (child == 0) {
		char why[256] = "";
		pthread_t thread;
		int ends[2];

		CHECK(pipe2(ends, O_CLOEXEC) == 0 && pthread_create(&thread, NULL, wait_for_end, &ends[0]) == 0);
		CHECK(jail_enter(&as_it_is, why, sizeof(why)) == -EINVAL && strstr(why, "another thread"));
		_exit(0);
	}
	CHECK(end_of(child) == 0);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	begin_outside();
	inside(&as_it_is, tell_kinds);
	if (JAIL_UNFILTERED) {
		printf("built with a sanitizer: the filter of system calls is not tested\n");
		return 0;
	}
	test_abort();
	test_stopped();
	test_calls();
#ifdef __x86_64__
	test_other_architecture();
#endif
	test_other_thread();
	return 0;
}
