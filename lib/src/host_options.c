/* SPDX-License-Identifier: MIT */
/*
 * A guest's socket options on the host's socket: those that mean something to the stack at the other end of a circuit, and nothing
 * that its owner could not do to a socket of his own without rights. The switch may be root, its guests are not: so there is neither a mark nor
 * a priority nor a device nor a buffer beyond the host's limits, and of the congestion controls those that everybody may choose.
 *
 * An option that the host refuses is no error of the connection: it stays as it was.
 */
#define _GNU_SOURCE
#include "host_options.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

#define ALLOWED_MAX 1024u /* bytes of the list of congestion controls */

/* What tcp(7) takes. */
#define KEEP_SECONDS_MAX 32767u
#define KEEP_COUNT_MAX 127u
#define SYN_COUNT_MAX 127u
#define USER_TIMEOUT_MAX INT32_MAX

/* Those that everybody may choose, as the kernel lists them; none before host_options_begin(). */
static char allowed[ALLOWED_MAX + 1];

static void set(int fd, int level, int option, uint32_t value)
{
	int n = (int)value;

	(void)setsockopt(fd, level, option, &n, sizeof(n)); /* see above: refused is as it was */
}

static bool is_within(uint32_t value, uint32_t least, uint32_t most)
{
	return value >= least && value <= most;
}

static bool is_six(int fd)
{
	struct sockaddr_storage local;
	socklen_t length = sizeof(local);

	return getsockname(fd, (struct sockaddr *)&local, &length) == 0 && local.ss_family == AF_INET6;
}

void host_options_begin(void)
{
	int fd = open("/proc/sys/net/ipv4/tcp_allowed_congestion_control", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, allowed, ALLOWED_MAX);

	if (fd >= 0)
		close(fd);
	allowed[n > 0 ? n : 0] = 0;
}

/* The kernel asks whether the process has CAP_NET_ADMIN: so it is asked here whether everybody may. */
static bool everybody_may(const char *algorithm)
{
	char words[sizeof(allowed)], *rest = words, *word;

	memcpy(words, allowed, sizeof(words));
	while ((word = strtok_r(NULL, " \n", &rest)))
		if (strcmp(word, algorithm) == 0)
			return true;
	return false;
}

static void set_congestion(int fd, const struct csvn_options *o)
{
	char name[CSVN_CONGESTION_MAX];

	memcpy(name, o->congestion, sizeof(name));
	if (!memchr(name, 0, sizeof(name)) || !name[0] || !everybody_may(name))
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}

static void set_keepalive(int fd, const struct csvn_options *o)
{
	if (o->set & CSVN_OPTION_KEEP_TIMES) {
		if (is_within(o->keep_idle, 1, KEEP_SECONDS_MAX))
			set(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keep_idle);
		if (is_within(o->keep_interval, 1, KEEP_SECONDS_MAX))
			set(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keep_interval);
		if (is_within(o->keep_count, 1, KEEP_COUNT_MAX))
			set(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keep_count);
	}
	if (o->set & CSVN_OPTION_KEEPALIVE)
		set(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive != 0);
}

/* SO_SNDBUF and SO_RCVBUF go to the host's own limits, whoever asks; those that go beyond are other options. */
static void set_buffers(int fd, const struct csvn_options *o)
{
	if (o->set & CSVN_OPTION_SEND_BUFFER && o->send_buffer <= INT32_MAX)
		set(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer);
	if (o->set & CSVN_OPTION_RECEIVE_BUFFER && o->receive_buffer <= INT32_MAX)
		set(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer);
}

void host_set_options(int fd, const struct csvn_options *o)
{
	bool six = o->set & (CSVN_OPTION_SERVICE | CSVN_OPTION_HOPS) && is_six(fd);

	set_keepalive(fd, o);
	set_buffers(fd, o);
	if (o->set & CSVN_OPTION_USER_TIMEOUT && o->user_timeout <= USER_TIMEOUT_MAX)
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, o->user_timeout);
	if (o->set & CSVN_OPTION_SYN_COUNT && is_within(o->syn_count, 1, SYN_COUNT_MAX))
		set(fd, IPPROTO_TCP, TCP_SYNCNT, o->syn_count);
	if (o->set & CSVN_OPTION_SERVICE)
		set(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, o->service);
	if (o->set & CSVN_OPTION_HOPS) {
		/* -1 is the stack's own. */
		set(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_UNICAST_HOPS : IP_TTL,
		    o->hops ? o->hops : (uint32_t)-1);
	}
	if (o->set & CSVN_OPTION_CONGESTION)
		set_congestion(fd, o);
}

void host_limit_wait(int fd)
{
	unsigned int chosen = 0;
	socklen_t bytes = sizeof(chosen);

	(void)getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &chosen, &bytes); /* it cannot fail */
	if (chosen == 0 || chosen > ORPHAN_MS)
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ORPHAN_MS);
}

void host_options(struct port *p, int handle, const struct csvn_options *o)
{
	struct host_circuit *h = handle_get(&p->host_circuits, handle);

	if (!h || h->fd < 0)
		return;
	host_set_options(h->fd, o);
	if (h->limited)
		host_limit_wait(h->fd);
}
