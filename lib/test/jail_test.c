/* SPDX-License-Identifier: MIT */
/*
 * The jail: what a port's work needs goes on inside, and the rights are really gone. What the filter of system calls forbids is in jail_calls_test.c;
 * Landlock, which the filter hides, is tested by a build with a sanitizer, which has none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>

#include "csvn/records.h"
#include "host.h"
#include "host_options.h"
#include "jailed.h"

#define NOBODY 65534u
#define WAIT_MS 60000

static bool is_root;
static char congestion[CSVN_CONGESTION_MAX]; /* control */

/* What is allowed. */

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static int option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

/* The host lets everybody have this one, which was asked outside. */
static void use_congestion(int fd)
{
	struct csvn_options o = { .set = CSVN_OPTION_CONGESTION };
	char now[CSVN_CONGESTION_MAX] = "";
	socklen_t length = sizeof(now);

	if (!congestion[0])
		return;
	memcpy(o.congestion, congestion, sizeof(congestion));
	host_set_options(fd, &o);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, now, &length) == 0 && strcmp(now, congestion) == 0);
}

/* One that sockets do not have anyway. */
static void find_congestion(void)
{
	char name[CSVN_CONGESTION_MAX], usual[CSVN_CONGESTION_MAX];
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "re");

	CHECK(f && fscanf(f, "%15s", usual) == 1 && fclose(f) == 0);
	f = fopen("/proc/sys/net/ipv4/tcp_allowed_congestion_control", "re");
	CHECK(f);
	while (fscanf(f, "%15s", name) == 1)
		if (strcmp(name, usual) != 0)
			memcpy(congestion, name, sizeof(congestion));
	CHECK(fclose(f) == 0);
	if (!congestion[0])
		printf("everybody may have one congestion control alone here: not tested\n");
	host_options_begin();
}

static void use_stream(void)
{
	struct linger reset = { 1, 0 };
	struct sockaddr_in at = loopback(0);
	struct sockaddr *any = (struct sockaddr *)&at;
	socklen_t length = sizeof(at);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), c, s, n = 0;
	struct pollfd poller = { .fd = l, .events = POLLIN };
	char byte = 'x';

	CHECK(l >= 0 && option(l, SOL_SOCKET, SO_REUSEADDR, 1) == 0);
	CHECK(bind(l, any, length) == 0 && listen(l, 4) == 0 && getsockname(l, any, &length) == 0);
	c = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	CHECK(c >= 0 && connect(c, any, length) == 0 && poll(&poller, 1, WAIT_MS) == 1);
	s = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK(s >= 0 && getpeername(s, any, &length) == 0);
	CHECK(option(s, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && option(s, SOL_SOCKET, SO_SNDBUF, 65536) == 0);
	CHECK(option(s, SOL_SOCKET, SO_RCVBUF, 65536) == 0 && option(s, IPPROTO_TCP, TCP_NODELAY, 1) == 0);
	CHECK(option(s, IPPROTO_TCP, TCP_KEEPIDLE, 9) == 0 && option(s, IPPROTO_TCP, TCP_KEEPINTVL, 9) == 0);
	CHECK(option(s, IPPROTO_TCP, TCP_KEEPCNT, 9) == 0 && option(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 999) == 0);
	CHECK(option(s, IPPROTO_TCP, TCP_SYNCNT, 3) == 0 && option(s, IPPROTO_IP, IP_TOS, 4) == 0);
	CHECK(option(s, IPPROTO_IP, IP_TTL, 64) == 0);
	use_congestion(s);
	length = sizeof(n);
	CHECK(getsockopt(s, SOL_SOCKET, SO_ERROR, &n, &length) == 0 && n == 0);
	CHECK(writev(c, &(struct iovec){ &byte, 1 }, 1) == 1);
	poller.fd = s;
	CHECK(poll(&poller, 1, WAIT_MS) == 1 && readv(s, &(struct iovec){ &byte, 1 }, 1) == 1);
	CHECK(shutdown(s, SHUT_WR) == 0 && recv(c, &byte, 1, 0) == 0);
	CHECK(setsockopt(s, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	CHECK(close(l) == 0 && close(c) == 0 && close(s) == 0);
}

static void use_datagrams(void)
{
	struct sockaddr_in at = loopback(0);
	struct sockaddr *any = (struct sockaddr *)&at;
	socklen_t length = sizeof(at);
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP), six;
	struct iovec iov = { &at, sizeof(at) };
	struct msghdr message = { .msg_name = any, .msg_namelen = length, .msg_iov = &iov, .msg_iovlen = 1 };

	CHECK(s >= 0 && bind(s, any, length) == 0 && getsockname(s, any, &length) == 0);
	CHECK(option(s, IPPROTO_IP, IP_RECVTOS, 1) == 0 && option(s, IPPROTO_IP, IP_RECVTTL, 1) == 0);
	CHECK(option(s, IPPROTO_IP, IP_RECVERR, 1) == 0 && option(s, IPPROTO_IP, IP_PKTINFO, 1) == 0);
	CHECK(sendmsg(s, &message, 0) == sizeof(at) && recvmsg(s, &message, 0) == sizeof(at));
	CHECK(sendto(s, &at, sizeof(at), 0, any, length) == sizeof(at) && recv(s, &at, sizeof(at), 0) == sizeof(at));
	close(s);
	six = socket(AF_INET6, SOCK_DGRAM, 0);
	if (six < 0) {
		CHECK(errno == EAFNOSUPPORT);
		return;
	}
	CHECK(option(six, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0 && option(six, IPPROTO_IPV6, IPV6_RECVERR, 1) == 0);
	CHECK(option(six, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) == 0 && option(six, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) == 0);
	CHECK(option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0 && option(six, IPPROTO_IPV6, IPV6_TCLASS, 4) == 0);
	CHECK(option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64) == 0);
	close(six);
}

/* The front-end's socket, and what comes with its messages. */
static void use_channel(void)
{
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	int waiting = -1, copy = fcntl(have.channel, F_DUPFD_CLOEXEC, 0);

	CHECK(copy >= 0 && sendmmsg(have.other_end, &m, 1, MSG_NOSIGNAL) == 1);
	CHECK(recvmmsg(copy, &m, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL) == 1);
	CHECK(ioctl(copy, FIONREAD, &waiting) == 0 && waiting == 0);
	CHECK(fcntl(copy, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFL) >= 0);
	CHECK(dup2(copy, STDIN_FILENO) == STDIN_FILENO && dup3(copy, STDIN_FILENO, O_CLOEXEC) == STDIN_FILENO && close(copy) == 0);
}

static void use_memory(void)
{
	struct statfs fs;
	struct stat st;
	size_t bytes = 1 << 20;
	char *at;

	CHECK(fcntl(have.memory, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW));
	/* By its number: the C library's fstat() is a call that names a file. */
	CHECK(syscall(SYS_fstat, have.memory, &st) == 0 && st.st_size == 1 << 20 && st.st_ino != 0);
	CHECK(fstatfs(have.memory, &fs) == 0);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, have.memory, 0);
	CHECK(at != MAP_FAILED && madvise(at, bytes, MADV_DONTDUMP) == 0);
	at[bytes - 1] = 1;
	CHECK(mprotect(at, bytes, PROT_READ) == 0 && munmap(at, bytes) == 0);
	at = malloc(bytes);
	CHECK(at && (at = realloc(at, 64 * bytes)) != NULL);
	free(at);
}

static void use_signals(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct timespec now = { 0, 0 };
	uint64_t count = 0, one = 1;
	int e = eventfd(0, EFD_CLOEXEC), poller = epoll_create1(EPOLL_CLOEXEC);
	struct iovec iov = { &count, sizeof(count) };

	CHECK(e >= 0 && poller >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, e, &event) == 0);
	CHECK(epoll_wait(poller, &event, 1, 0) == 0 && syscall(SYS_epoll_pwait2, poller, &event, 1, &now, NULL, 0) == 0);
	CHECK(pwritev2(e, &(struct iovec){ &one, sizeof(one) }, 1, -1, 0) == sizeof(one) && read(e, &count, sizeof(count)) == sizeof(count));
	for (uint32_t i = 0; i < 200; i++)
		CHECK(interrupter_signal(&have.interrupter, e) == 0);
	CHECK(interrupter_signal(&have.interrupter, have.channel) == -EINVAL);
	CHECK(epoll_wait(poller, &event, 1, WAIT_MS) == 1);
	CHECK(preadv2(e, &iov, 1, -1, RWF_NOWAIT) == sizeof(count) && count == 200);
	CHECK(preadv2(e, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN);
	close(e);
	close(poller);
}

#define THREADS 10
#define BLOCKS 2000

static pthread_barrier_t barrier;

/* Each has an arena of its own; one that gives back much asks how the system overcommits. */
static void *use_heap(void *unused)
{
	void *blocks[BLOCKS];

	for (uint32_t i = 0; i < BLOCKS; i++)
		CHECK((blocks[i] = malloc(1000)) != NULL);
	pthread_barrier_wait(&barrier);
	for (uint32_t i = BLOCKS; i; i--)
		free(blocks[i - 1]);
	return unused;
}


static void use_threads(void)
{
	pthread_t threads[THREADS];

	CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	CHECK(pthread_setname_np(pthread_self(), "csvn-jailed") == 0);
	for (uint32_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, use_heap, NULL) == 0);
	for (uint32_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static volatile sig_atomic_t noted;

static void note_signal(int number)
{
	noted = number;
}

static void use_rest(void)
{
	FILE *stream;
	stack_t stack;
	struct timespec now, moment = { 0, 1000 };
	struct rlimit limit;
	uint8_t bytes[16];

	CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0 && nanosleep(&moment, NULL) == 0);
	CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes) && sched_yield() == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= DESCRIPTORS && limit.rlim_max == limit.rlim_cur);
	CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
	stream = fdopen(fcntl(have.other_end, F_DUPFD_CLOEXEC, 0), "w"); /* it asks what its file is */
	CHECK(stream && fputc('x', stream) == 'x' && fclose(stream) == 0 && recv(have.channel, bytes, 1, 0) == 1);
	CHECK(syscall(SYS_membarrier, 0, 0, 0) >= 0 && sigaltstack(NULL, &stack) == 0);
	CHECK(signal(SIGABRT, note_signal) != SIG_ERR && raise(SIGABRT) == 0 && noted == SIGABRT);
}

static void work(void)
{
	use_stream();
	use_datagrams();
	use_channel();
	use_memory();
	use_signals();
	use_threads();
	use_rest();
}

/* Landlock alone. Of abstract sockets only its later versions know. */

static struct sockaddr_un abstract = { .sun_family = AF_UNIX };

static void listen_outside(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(abstract.sun_path + 1, sizeof(abstract.sun_path) - 1, "csvn-jail-test-%d", (int)getpid());
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&abstract, sizeof(abstract)) == 0 && listen(fd, 4) == 0);
}

static void touch_files(void)
{
	int fd, rc;

	CHECK(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	CHECK(open("/", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	CHECK(open("/tmp/csvn-jail-test", O_RDWR | O_CREAT, 0600) < 0 && errno == EACCES);
	CHECK(mkdir("/tmp/csvn-jail-test", 0700) < 0 && errno == EACCES);
	CHECK(execl("/bin/true", "true", NULL) < 0 && errno == EACCES);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	rc = connect(fd, (struct sockaddr *)&abstract, sizeof(abstract));
	CHECK(landlock < 6 ? rc == 0 : rc < 0 && errno == EPERM);
}

/* A system without Landlock, or one that was told not to use it: that wall is missed, the others stand. */
static void test_no_landlock(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	pid_t child = begin_child();

	if (child == 0) {
		CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
		CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
		landlock = -1;
		enter(&as_it_is);
		work();
		_exit(0);
	}
	CHECK(end_of(child) == 0);
}

/* Which rights a process has: its status, as the kernel tells it to others. */

static void find_line(const char *text, const char *name, char *line, size_t bytes)
{
	const char *at = strstr(text, name);

	CHECK(at && (at == text || at[-1] == '\n'));
	(void)snprintf(line, bytes, "%.*s", (int)strcspn(at, "\n"), at);
}

static void check_line(const char *text, const char *name, const char *value)
{
	char line[256], wanted[256];

	find_line(text, name, line, sizeof(line));
	(void)snprintf(wanted, sizeof(wanted), "%s:\t%s", name, value);
	if (strcmp(line, wanted) != 0)
		fprintf(stderr, "%s, not %s\n", line, wanted);
	CHECK(strcmp(line, wanted) == 0);
}

static void read_status(pid_t pid, char *text, size_t bytes)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && (n = read(fd, text, bytes - 1)) > 0);
	text[n] = 0;
	close(fd);
}

static void check_rights(const struct jail *j, const char *capabilities)
{
	int hold[2], ready[2];
	char text[8192], byte = 0;
	struct stat st;
	pid_t child;

	CHECK(pipe2(hold, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
	child = begin_child();
	if (child == 0) {
		enter(j);
		close(hold[1]);
		CHECK(write(ready[1], &byte, 1) == 1 && read(hold[0], &byte, 1) == 1);
		_exit(0);
	}
	close(ready[1]);
	CHECK(read(ready[0], &byte, 1) == 1);
	read_status(child, text, sizeof(text));
	check_line(text, "CapPrm", capabilities);
	check_line(text, "CapEff", capabilities);
	check_line(text, "CapInh", "0000000000000000");
	check_line(text, "CapAmb", "0000000000000000");
	check_line(text, "NoNewPrivs", "1");
	check_line(text, "Seccomp", JAIL_UNFILTERED ? "0" : "2");
	if (is_root) {
		check_line(text, "CapBnd", "0000000000000000");
		check_line(text, "Groups", " ");
	}
	if (j->uid != (uid_t)-1) {
		check_line(text, "Uid", "65534\t65534\t65534\t65534");
		check_line(text, "Gid", "65534\t65534\t65534\t65534");
		/* What is not dumpable belongs to root. */
		(void)snprintf(text, sizeof(text), "/proc/%d/fd", (int)child);
		CHECK(stat(text, &st) == 0 && st.st_uid == 0);
	}
	CHECK(write(hold[1], &byte, 1) == 1 && end_of(child) == 0);
	close(hold[0]);
	close(hold[1]);
	close(ready[0]);
}

static bool has_low_ports(void)
{
	int first = 0;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");

	CHECK(f && fscanf(f, "%d", &first) == 1 && fclose(f) == 0);
	return first >= 1024;
}

/* 0, or the error of the last that could not be had. */
static int bind_low(void)
{
	int error = 0;

	for (uint16_t port = 1023; port > 900; port--) {
		struct sockaddr_in at = loopback(port);
		int s = socket(AF_INET, SOCK_STREAM, 0);

		CHECK(s >= 0);
		error = bind(s, (struct sockaddr *)&at, sizeof(at)) < 0 ? errno : 0;
		close(s);
		if (error != EADDRINUSE)
			break;
	}
	return error;
}

static void may_bind_low(void)
{
	CHECK(bind_low() == 0);
}

static void may_not_bind_low(void)
{
	CHECK(bind_low() == EACCES);
}

static void test_root(void)
{
	struct jail nobody = { .uid = NOBODY, .gid = NOBODY, .descriptors = DESCRIPTORS };
	gid_t groups[] = { 1, 2, 3 };

	CHECK(setgroups(3, groups) == 0);
	check_rights(&as_it_is, "0000000000000000");
	check_rights(&nobody, "0000000000000000");
	inside(&nobody, work);
	if (has_low_ports()) {
		inside(&nobody, may_not_bind_low);
		inside(&as_it_is, may_not_bind_low);
	} else {
		printf("everybody may bind low ports here: not tested that it takes a right\n");
	}
	nobody.binds_low_ports = true;
	check_rights(&nobody, "0000000000000400");
	inside(&nobody, may_bind_low);
	/* From here on as a switch that is nobody's: it cannot change the user, and says so. */
	CHECK(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
	is_root = false;
}

static void test_no_root(void)
{
	struct jail other = { .uid = 1, .gid = (gid_t)-1, .descriptors = DESCRIPTORS, .binds_low_ports = true };
	pid_t child = begin_child();
	char why[256] = "";

	if (child == 0) {
		CHECK(jail_enter(&other, why, sizeof(why)) == -EPERM && strncmp(why, "user: ", 6) == 0);
		_exit(0);
	}
	CHECK(end_of(child) == 0);
	other.uid = (uid_t)-1;
	check_rights(&other, "0000000000000000");
	inside(&as_it_is, work);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	is_root = geteuid() == 0;
	begin_outside();
	find_congestion();
	inside(&as_it_is, work);
	test_no_landlock();
	listen_outside();
	if (landlock <= 0)
		printf("no Landlock here: not tested\n");
	else if (JAIL_UNFILTERED)
		inside(&as_it_is, touch_files);
	if (is_root)
		test_root();
	else
		printf("not root: not tested what a port loses of root's\n");
	test_no_root();
	return 0;
}
