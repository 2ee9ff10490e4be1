/* SPDX-License-Identifier: MIT */
/*
 * A guest's options on the host's socket, against what an owner without rights could set: random ones, and what must never change. The
 * test may be root, as the switch may be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <unistd.h>

#include "check.h"
#include "host.h"
#include "host_options.h"

#define STEPS 3000u

static int get(int fd, int level, int option)
{
	int value = 0;
	socklen_t bytes = sizeof(value);

	CHECK(getsockopt(fd, level, option, &value, &bytes) == 0);
	return value;
}

static void set(int fd, int level, int option, uint32_t value)
{
	int n = (int)value;

	(void)setsockopt(fd, level, option, &n, sizeof(n));
}

static const struct {
	int level, option;
} watched[] = {
	{ SOL_SOCKET, SO_KEEPALIVE }, { IPPROTO_TCP, TCP_KEEPIDLE },	 { IPPROTO_TCP, TCP_KEEPINTVL },
	{ IPPROTO_TCP, TCP_KEEPCNT }, { IPPROTO_TCP, TCP_USER_TIMEOUT }, { IPPROTO_TCP, TCP_SYNCNT },
	{ SOL_SOCKET, SO_SNDBUF },    { SOL_SOCKET, SO_RCVBUF },	 { SOL_SOCKET, SO_MARK },
	{ SOL_SOCKET, SO_LINGER },    { IPPROTO_TCP, TCP_NODELAY },
};

static void check_same(int a, int b, bool six)
{
	for (uint32_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		if (get(a, watched[i].level, watched[i].option) != get(b, watched[i].level, watched[i].option)) {
			fprintf(stderr, "option %d of level %d differs\n", watched[i].option, watched[i].level);
			exit(1);
		}
	CHECK(!six || get(a, IPPROTO_IPV6, IPV6_TCLASS) == get(b, IPPROTO_IPV6, IPV6_TCLASS));
	CHECK(!six || get(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == get(b, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
	CHECK(six || get(a, IPPROTO_IP, IP_TOS) == get(b, IPPROTO_IP, IP_TOS));
	CHECK(six || get(a, IPPROTO_IP, IP_TTL) == get(b, IPPROTO_IP, IP_TTL));
}

/* A value that is right, at the edge, or anything. */
static uint32_t some(uint32_t most)
{
	static const uint32_t edges[] = { 0, 1, 127, 128, 255, 256, 32767, 32768, INT32_MAX, 0x80000000u, UINT32_MAX };

	switch (test_below(3)) {
	case 0:
		return test_below(most);
	case 1:
		return edges[test_below(sizeof(edges) / sizeof(edges[0]))];
	default:
		return (uint32_t)test_random();
	}
}

/* The oracle: what the kernel takes, it takes from everybody. */
static void set_natively(int fd, const struct csvn_options *o, bool six)
{
	if (o->set & CSVN_OPTION_KEEP_TIMES) {
		set(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keep_idle);
		set(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keep_interval);
		set(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keep_count);
	}
	if (o->set & CSVN_OPTION_KEEPALIVE)
		set(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive);
	if (o->set & CSVN_OPTION_USER_TIMEOUT)
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, o->user_timeout);
	if (o->set & CSVN_OPTION_SYN_COUNT)
		set(fd, IPPROTO_TCP, TCP_SYNCNT, o->syn_count);
	if (o->set & CSVN_OPTION_SEND_BUFFER && o->send_buffer <= INT32_MAX)
		set(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer);
	if (o->set & CSVN_OPTION_RECEIVE_BUFFER && o->receive_buffer <= INT32_MAX)
		set(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer);
	if (o->set & CSVN_OPTION_SERVICE)
		set(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, o->service);
	if (o->set & CSVN_OPTION_HOPS && o->hops)
		set(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_UNICAST_HOPS : IP_TTL, o->hops);
}

static void test_random_options(void)
{
	for (uint32_t i = 0; i < STEPS; i++) {
		bool six = test_below(2);
		int a = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int b = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct csvn_options o = { .set = (uint32_t)test_random() & ~CSVN_OPTION_CONGESTION,
					  .keep_idle = some(40000),
					  .keep_interval = some(40000),
					  .keep_count = some(140),
					  .user_timeout = some(100000),
					  .syn_count = some(140),
					  .send_buffer = some(1 << 22),
					  .receive_buffer = some(1 << 22),
					  .keepalive = (uint8_t)test_below(3),
					  .service = (uint8_t)test_random(),
					  .hops = (uint8_t)test_random() };

		CHECK(a >= 0 && b >= 0);
		host_set_options(a, &o);
		set_natively(b, &o, six);
		check_same(a, b, six);
		close(a);
		close(b);
	}
}

static void congestion(int fd, char name[64])
{
	socklen_t bytes = 64;

	memset(name, 0, 64);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &bytes) == 0);
}

/* Those that the host lets everybody have, and no other, though it has them and we may be root. */
static void test_congestion(void)
{
	char allowed[1024] = " ", list[1024] = "", *rest = list, *word, before[64], after[64];
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_allowed_congestion_control", "r");

	CHECK(f && fgets(allowed + 1, sizeof(allowed) - 2, f));
	fclose(f);
	allowed[strcspn(allowed, "\n")] = ' ';
	f = fopen("/proc/sys/net/ipv4/tcp_available_congestion_control", "r");
	CHECK(f && fgets(list, sizeof(list), f));
	fclose(f);
	while ((word = strtok_r(NULL, " \n", &rest))) {
		struct csvn_options o = { .set = CSVN_OPTION_CONGESTION };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char padded[64];

		CHECK(fd >= 0 && strlen(word) < CSVN_CONGESTION_MAX);
		(void)snprintf(padded, sizeof(padded), " %s ", word);
		memcpy(o.congestion, word, strlen(word));
		congestion(fd, before);
		host_set_options(fd, &o);
		congestion(fd, after);
		CHECK(strcmp(after, strstr(allowed, padded) ? word : before) == 0);
		/* Without its end, it is no name. */
		memset(o.congestion, 'a', sizeof(o.congestion));
		host_set_options(fd, &o);
		congestion(fd, before);
		CHECK(strcmp(after, before) == 0);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	host_options_begin();
	test_random_options();
	test_congestion();
	return 0;
}
