/* SPDX-License-Identifier: MIT */
/* Signals: in every call that blocks, with and without SA_RESTART, and those that sockets send themselves. */
#define _GNU_SOURCE
#include "sockets.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

static char buffer[1 << 16];
static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
}

/* An alarm in ms, once. */
static void ring_in(int ms, int flags)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval timer = { .it_value = { ms / 1000, ms % 1000 * 1000 } };

	alarms = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* A socket and a listener whose backlog is full. */
static int crowded(struct sockaddr_in *to)
{
	int l = listener(0);

	*to = name_of(l);
	dial(to);
	return l;
}

static void interrupted_recv(const void *none)
{
	struct pair p = connected();
	struct later l;

	(void)none;
	ring_in(200, 0);
	SAW(recv(p.a, buffer, 10, 0));
	saw("alarms: %d", (int)alarms);
	ring_in(200, SA_RESTART);
	later(&l, 500, send_late, p.b);
	saw_bytes("restarted", buffer, recv(p.a, buffer, 10, 0));
	finished(&l);
	saw("alarms: %d", (int)alarms);
	send(p.b, "some", 4, 0);
	ring_in(200, SA_RESTART);
	saw_bytes("some of all", buffer, recv(p.a, buffer, 10, MSG_WAITALL));
	timeout(p.a, SO_RCVTIMEO, 2000);
	ring_in(200, SA_RESTART);
	SAW(recv(p.a, buffer, 10, 0));
}

static void interrupted_send(const void *none)
{
	static char bytes[32 << 20];
	struct pair p = connected();
	ssize_t n;

	(void)none;
	ring_in(300, 0);
	n = send(p.a, bytes, sizeof(bytes), 0);
	saw("%s", n > 0 && n < (ssize_t)sizeof(bytes) ? "some were sent" : "all or none");
	fill(p.a);
	ring_in(300, 0);
	SAW(send(p.a, bytes, 1, 0));
	timeout(p.a, SO_SNDTIMEO, 2000);
	ring_in(300, SA_RESTART);
	SAW(send(p.a, bytes, 1, 0));
}

static void interrupted_accept(const void *none)
{
	int l = listener(1);

	(void)none;
	ring_in(200, 0);
	SAW(accept(l, NULL, NULL));
	timeout(l, SO_RCVTIMEO, 600);
	ring_in(200, SA_RESTART);
	SAW(accept(l, NULL, NULL));
	saw("alarms: %d", (int)alarms);
}

static void interrupted_connect(const void *none)
{
	struct sockaddr_in to;
	int l = crowded(&to), fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)none;
	ring_in(300, 0);
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	SAW(accept(l, NULL, NULL) >= 0);
	saw_events("it went on", fd, POLLOUT, 20000);
	SAW(get_int(fd, SOL_SOCKET, SO_ERROR));
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static void connect_timeout(const void *none)
{
	struct sockaddr_in to;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)none;
	crowded(&to);
	timeout(fd, SO_SNDTIMEO, 300);
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	ring_in(200, SA_RESTART);
	SAW(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	SAW(close(fd));
}

static void interrupted_waits(const void *none)
{
	struct pair p = connected();
	struct pollfd poll_one = { p.a, POLLIN, 0 };
	struct epoll_event event = { .events = EPOLLIN };
	int e = (int)MUST(epoll_create1(0));
	fd_set set;

	(void)none;
	ring_in(200, SA_RESTART);
	SAW(poll(&poll_one, 1, 2000));
	FD_ZERO(&set);
	FD_SET(p.a, &set);
	ring_in(200, SA_RESTART);
	SAW(select(p.a + 1, &set, NULL, NULL, &(struct timeval){ 2, 0 }));
	MUST(epoll_ctl(e, EPOLL_CTL_ADD, p.a, &event));
	ring_in(200, SA_RESTART);
	SAW(epoll_wait(e, &event, 1, 2000));
}

static void interrupted_datagram(const void *none)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)none;
	MUST(bind(fd, (struct sockaddr *)&there, sizeof(there)));
	ring_in(200, 0);
	SAW(recv(fd, buffer, 10, 0));
	timeout(fd, SO_RCVTIMEO, 2000);
	ring_in(200, SA_RESTART);
	SAW(recv(fd, buffer, 10, 0));
}

static volatile sig_atomic_t io_signals, last_fd, last_band;

static void on_io(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	io_signals++;
	last_fd = info->si_fd;
	last_band = (int)info->si_band;
}

static void listen_for_io(int signal)
{
	struct sigaction action = { .sa_sigaction = on_io, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(signal, &action, NULL);
}

/* Whether a signal came in the last moments. */
static void io_came(const char *what)
{
	for (int i = 0; i < 20 && !io_signals; i++)
		nap(50);
	settle();
	saw("%s: %s", what, io_signals ? "signalled" : "silent");
	io_signals = 0;
}

static void sigio(const void *none)
{
	struct pair p = connected();
	int on = 1;

	(void)none;
	listen_for_io(SIGIO);
	SAW(fcntl(p.a, F_SETOWN, getpid()));
	SAW(fcntl(p.a, F_GETOWN) == getpid());
	SAW(ioctl(p.a, FIOASYNC, &on));
	SAW((fcntl(p.a, F_GETFL) & O_ASYNC) != 0);
	send(p.b, "x", 1, 0);
	io_came("bytes");
	send(p.b, "x", 1, 0);
	recv(p.a, buffer, 10, 0);
	io_signals = 0;
	send(p.b, "x", 1, 0);
	io_came("bytes again");
	recv(p.a, buffer, 10, 0);
	shutdown(p.b, SHUT_WR);
	io_came("the end");
	on = 0;
	SAW(ioctl(p.a, FIOASYNC, &on));
	close(p.b);
	io_came("off");
}

static void sigio_listener(const void *none)
{
	int l = listener(8);
	struct sockaddr_in to = name_of(l);

	(void)none;
	listen_for_io(SIGIO);
	MUST(fcntl(l, F_SETOWN, getpid()));
	SAW(fcntl(l, F_SETFL, O_ASYNC | O_NONBLOCK));
	dial(&to);
	io_came("a connection");
	SAW(accept(l, NULL, NULL) >= 0);
}

static void sigio_information(const void *none)
{
	struct pair p = connected();

	(void)none;
	listen_for_io(SIGRTMIN);
	MUST(fcntl(p.a, F_SETOWN, getpid()));
	SAW(fcntl(p.a, F_SETSIG, SIGRTMIN));
	SAW(fcntl(p.a, F_SETFL, O_ASYNC));
	send(p.b, "x", 1, 0);
	io_came("bytes");
	saw("of the socket: %d", last_fd == p.a);
	saw_mask("band", last_band & (POLLIN | POLLOUT | POLLERR | POLLHUP));
}

static void sigio_datagram(const void *none)
{
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to;

	(void)none;
	MUST(bind(b, (struct sockaddr *)&there, sizeof(there)));
	to = name_of(b);
	listen_for_io(SIGIO);
	MUST(fcntl(b, F_SETOWN, getpid()));
	SAW(fcntl(b, F_SETFL, O_ASYNC));
	for (int i = 0; i < 2; i++) {
		MUST(sendto(a, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
		io_came("a datagram");
		recv(b, buffer, 10, MSG_DONTWAIT);
	}
}

const struct test signal_tests[] = {
	CASE(interrupted_recv), CASE(interrupted_send), CASE(interrupted_accept), CASE(interrupted_connect),
	CASE(connect_timeout), CASE(interrupted_waits), CASE(interrupted_datagram), CASE(sigio), CASE(sigio_listener),
	CASE(sigio_information), CASE(sigio_datagram), END,
};
