/* SPDX-License-Identifier: MIT */
/*
 * Datagrams of a circuit to the host's stack beside a plain unconnected socket's: under the same random script, with ports where somebody is
 * and ports where nobody is, the same datagrams arrive at the same places, there and back. Errors come for addresses where nobody is, and for
 * no other.
 *
 *     host_datagram_test [seed]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "check.h"
#include "datagram.h"
#include "datagram_circuit.h"
#include "port_client.h"

#define LOOPBACK 0x7f4d6204u /* 127.77.98.4: this test's own */
#define RING (128u << 10)
#define PEERS 6
#define SCRIPTS 300u
#define ARENA 2 /* numbers */
#define CIRCUIT 4
#define PATIENCE_MS 20000

static struct client client;
static uint8_t *memory;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What a socket receives, in the order in which it comes. */
struct heard {
	uint32_t count;
	uint32_t numbers[1000];
	int ports[1000];
};

static bool same(const struct heard *a, const struct heard *b)
{
	return a->count == b->count && memcmp(a->numbers, b->numbers, a->count * sizeof(a->numbers[0])) == 0 &&
	       memcmp(a->ports, b->ports, a->count * sizeof(a->ports[0])) == 0;
}

struct party {
	bool live;
	int fd; /* -1: nobody */
	uint16_t port;
	struct heard heard;
};

/* A sender and those that it sends to. */
struct world {
	int fd, circuit; /* the sender: one of them is -1 */
	struct csvn_end end;
	struct party peers[PEERS];
	struct heard heard; /* by the sender; ports: the peer's number */
	uint32_t errors[PEERS];
	bool corked; /* frames wait for the others of a burst */
	uint16_t port; /* of the sender, as the last peer that heard it saw it */
};

static struct sockaddr_in at(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(LOOPBACK) };
}

/*
 * A port that nobody has had in this run, where 0 is asked for: the number of one that has died may be given to another's socket otherwise, which then
 * hears what was sent to the dead. The system gives out higher ones by itself.
 */
#define PORTS_FIRST 10000u
#define PORTS_LAST 32000u

static int bound(uint16_t *port)
{
	static uint16_t next = PORTS_FIRST;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool any = *port == 0;

	CHECK(fd >= 0);
	for (;;) {
		struct sockaddr_in a = at(any ? next++ : *port);

		CHECK(next <= PORTS_LAST);
		*port = ntohs(a.sin_port);
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		CHECK(any && errno == EADDRINUSE);
	}
}

static void peer_dies(struct party *peer)
{
	close(peer->fd);
	peer->fd = -1;
	peer->live = false;
}

static uint64_t offset_of(uint32_t part)
{
	return CSVN_PAGE + (part < 2 ? part * CSVN_PAGE : 2 * CSVN_PAGE + (part - 2) * RING);
}

static struct csvn_host_address address_of(uint16_t port)
{
	struct csvn_host_address a = { .family = 4, .port = port };
	uint32_t ip = htonl(LOOPBACK);

	memcpy(a.ip, &ip, sizeof(ip));
	return a;
}

static void permit(const struct world *w, uint16_t port)
{
	struct csvn_host_permit rule = { .guest = address_of(port), .actual = address_of(port), .allowed = 1, .number = port };

	CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, w->circuit, 0, &rule, sizeof(rule)) == 0);
}

static void circuit_open(struct world *w, const struct csvn_host_address *bind)
{
	struct csvn_host_setup setup = { .id = 9,
					 .arena = ARENA,
					 .ring_size = RING,
					 .own_control = offset_of(0),
					 .peer_control = offset_of(1),
					 .tx_ring = offset_of(2),
					 .rx_ring = offset_of(3),
					 .connection = -1 };

	if (bind)
		setup.remote = *bind;
	memset(memory, 0, offset_of(4));
	csvn_end_init(&w->end, (void *)(memory + setup.peer_control), (void *)(memory + setup.own_control),
		      memory + setup.rx_ring, memory + setup.tx_ring, RING);
	w->circuit = CIRCUIT;
	client_command(&client, CSVN_COMMAND_DATAGRAM_OPEN, CIRCUIT, 0, &setup, sizeof(setup));
	CHECK(client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
}

static void ring(const struct world *w)
{
	datagram_doorbell(&client.port, w->circuit);
}

static void settle(void)
{
	client_settle(&client);
}

static void copy_in(struct csvn_end *e, uint64_t cursor, const void *bytes, uint32_t count)
{
	struct iovec iov[2];

	(void)ring_pieces(e->tx, RING, cursor, count, iov);
	memcpy(iov[0].iov_base, bytes, iov[0].iov_len);
	memcpy(iov[1].iov_base, (const uint8_t *)bytes + iov[0].iov_len, iov[1].iov_len);
}

static void put_frame(struct world *w, uint16_t port, const void *bytes, uint32_t count, uint8_t service, uint8_t hops)
{
	struct csvn_datagram d = { .size = count, .family = 4, .port = port, .service = service, .hops = hops };
	uint32_t ip = htonl(LOOPBACK), room;

	memcpy(d.ip, &ip, sizeof(ip));
	CHECK(csvn_tx_room(&w->end, RING, &room) == 0 && room >= frame_bytes(count));
	copy_in(&w->end, w->end.tail, &d, sizeof(d));
	copy_in(&w->end, w->end.tail + sizeof(d), bytes, count);
	csvn_tx_publish(&w->end, frame_bytes(count));
	if (!w->corked && csvn_wants_rx(&w->end))
		ring(w);
}

static void uncork(struct world *w)
{
	w->corked = false;
	if (w->circuit >= 0 && csvn_wants_rx(&w->end))
		ring(w);
}

/* The payload always begins with a number. */
static void send_number(struct world *w, uint16_t port, uint32_t number, uint32_t size)
{
	static uint8_t bytes[2000];
	struct sockaddr_in to = at(port);

	memcpy(bytes, &number, sizeof(number));
	if (w->circuit >= 0) {
		put_frame(w, port, bytes, size, 0, 0);
		return;
	}
	CHECK(sendto(w->fd, bytes, size, 0, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)size);
}

static void note(struct heard *h, uint32_t number, int port)
{
	CHECK(h->count < 1000);
	h->numbers[h->count] = number;
	h->ports[h->count++] = port;
}

static int peer_of(const struct world *w, uint16_t port)
{
	for (int i = 0; i < PEERS; i++)
		if (w->peers[i].port == port)
			return i;
	CHECK(false);
	return -1;
}

static void hear_peers(struct world *w)
{
	for (int i = 0; i < PEERS; i++) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);
		uint8_t bytes[2000];
		uint32_t number;

		while (w->peers[i].fd >= 0 &&
		       recvfrom(w->peers[i].fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length) >= 4) {
			memcpy(&number, bytes, sizeof(number));
			note(&w->peers[i].heard, number, 0);
			w->port = ntohs(from.sin_port);
		}
	}
}

/* The next frame for the guest, and the number that its payload begins with; false: there is none. */
static bool take_frame(struct world *w, struct csvn_datagram *d, uint32_t *number)
{
	uint8_t bytes[sizeof(*d) + sizeof(*number)];
	struct iovec iov[2];
	uint32_t ready;

	CHECK(csvn_rx_ready(&w->end, RING, &ready) == 0);
	if (!ready)
		return false;
	(void)ring_pieces(w->end.rx, RING, w->end.head, sizeof(bytes), iov);
	memcpy(bytes, iov[0].iov_base, iov[0].iov_len);
	memcpy(bytes + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	memcpy(d, bytes, sizeof(*d));
	memcpy(number, bytes + sizeof(*d), sizeof(*number));
	csvn_rx_release(&w->end, frame_bytes(d->size));
	if (csvn_wants_tx(&w->end))
		ring(w);
	return true;
}

static void hear_sender(struct world *w)
{
	uint8_t bytes[2000];
	uint32_t number;

	if (w->circuit < 0) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);

		while (recvfrom(w->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length) >= 4) {
			memcpy(&number, bytes, sizeof(number));
			note(&w->heard, number, peer_of(w, ntohs(from.sin_port)));
		}
		return;
	}
	for (struct csvn_datagram d; take_frame(w, &d, &number);) {
		if (!d.error) {
			note(&w->heard, number, peer_of(w, d.port));
			continue;
		}
		CHECK(d.error == ECONNREFUSED && d.size == 0);
		w->errors[peer_of(w, d.port)]++;
	}
}

static void answer(struct world *w, int who, uint32_t number)
{
	struct sockaddr_in to = at(w->port);

	if (w->port && w->peers[who].live)
		CHECK(sendto(w->peers[who].fd, &number, sizeof(number), 0, (struct sockaddr *)&to, sizeof(to)) == 4);
}

static void world_open(struct world *w, bool circuit, const bool live[PEERS])
{
	memset(w, 0, sizeof(*w));
	w->fd = w->circuit = -1;
	if (circuit) {
		circuit_open(w, NULL);
	} else {
		struct sockaddr_in any = at(0);

		w->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		CHECK(w->fd >= 0 && bind(w->fd, (struct sockaddr *)&any, sizeof(any)) == 0);
	}
	for (int i = 0; i < PEERS; i++) {
		w->peers[i].fd = bound(&w->peers[i].port);
		w->peers[i].live = true;
		if (circuit)
			permit(w, w->peers[i].port);
	}
	for (int i = 0; i < PEERS; i++)
		if (!live[i])
			peer_dies(&w->peers[i]);
}

/* The circuit's end; what was told of it is dropped. */
static void circuit_close(int circuit)
{
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, circuit, 0, NULL, 0);
	client.count = 0;
}

static void world_close(struct world *w)
{
	for (int i = 0; i < PEERS; i++)
		if (w->peers[i].fd >= 0)
			close(w->peers[i].fd);
	if (w->fd >= 0)
		close(w->fd);
	if (w->circuit >= 0)
		circuit_close(w->circuit);
	client.count = 0;
}

/* What is to be heard, by those that live. */
struct due {
	uint32_t peers[PEERS];
	uint32_t sender;
};

static bool all_heard(const struct world *w, const struct due *due)
{
	for (int i = 0; i < PEERS; i++)
		if (w->peers[i].live && w->peers[i].heard.count < due->peers[i])
			return false;
	return w->heard.count >= due->sender;
}

/* The kernel may deliver late, when it is busy: until all that was sent has been heard, or it cannot be late any more. */
static void hear_all(struct world w[2], const struct due *due)
{
	uint64_t began = milliseconds();

	do {
		settle();
		for (int j = 0; j < 2; j++) {
			hear_peers(&w[j]);
			hear_sender(&w[j]);
		}
	} while (!(all_heard(&w[0], due) && all_heard(&w[1], due)) && milliseconds() - began < PATIENCE_MS);
}

/* Something was heard of each port where nobody is that was sent to. */
static bool errors_heard(const struct world *w, const uint32_t sent_dead[PEERS])
{
	for (int i = 0; i < PEERS; i++)
		if (sent_dead[i] && !w->errors[i])
			return false;
	return true;
}

static void run_script(uint64_t seed)
{
	static struct world w[2];
	uint32_t sent_dead[PEERS] = { 0 }, number = 1;
	struct due due = { 0 };
	bool live[PEERS], died[PEERS];

	test_random_state = seed * 2654435761u + 1;
	for (int i = 0; i < PEERS; i++)
		died[i] = !(live[i] = i == 0 || test_below(2));
	for (int j = 0; j < 2; j++)
		world_open(&w[j], j, live);
	for (uint32_t i = 0, steps = 1 + test_below(100); i < steps; i++) {
		int who = (int)test_below(PEERS);
		uint32_t size = 4 + test_below(600), burst = 1 + test_below(8);
		bool answers = test_below(4) == 0, dies = test_below(60) == 0;

		for (uint32_t k = 0; k < burst; k++, number++) {
			int to = burst > 1 && k ? (int)test_below(PEERS) : who;

			sent_dead[to] += !live[to];
			due.peers[to] += live[to];
			for (int j = 0; j < 2; j++) {
				w[j].corked = true;
				send_number(&w[j], w[j].peers[to].port, number, size);
			}
		}
		for (int j = 0; j < 2; j++)
			uncork(&w[j]);
		/* Without a rest in between, one's error meets the other's datagram. */
		if (test_below(3) == 0)
			settle();
		if (answers || dies || i % 8 == 0) {
			hear_all(w, &due);
			for (int j = 0; j < 2 && answers; j++)
				answer(&w[j], who, number);
			due.sender += answers && w[0].port && w[0].peers[who].live;
			number++;
		}
		if (dies && live[who] && who) {
			settle();
			for (int j = 0; j < 2; j++)
				peer_dies(&w[j].peers[who]);
			live[who] = false;
			died[who] = true;
		}
		if (test_below(5) == 0)
			for (int j = 0; j < 2; j++)
				hear_sender(&w[j]);
	}
	hear_all(w, &due);
	for (uint64_t began = milliseconds(); !errors_heard(&w[1], sent_dead) && milliseconds() - began < 2000;) {
		settle();
		hear_sender(&w[1]);
	}
	CHECK(errors_heard(&w[1], sent_dead));
	for (int i = 0; i < PEERS; i++) {
		const struct party *a = &w[0].peers[i], *b = &w[1].peers[i];

		if (!same(&a->heard, &b->heard)) {
			fprintf(stderr,
				"script %" PRIu64 ": port %d heard %u datagrams natively, %u over the circuit\n", seed,
				i, a->heard.count, b->heard.count);
			exit(1);
		}
		CHECK(died[i] || !w[1].errors[i]);
	}
	if (!same(&w[0].heard, &w[1].heard)) {
		fprintf(stderr, "script %" PRIu64 ": the sender heard %u datagrams natively, %u over the circuit\n",
			seed, w[0].heard.count, w[1].heard.count);
		exit(1);
	}
	for (int j = 0; j < 2; j++)
		world_close(&w[j]);
}

/* The guest's type of service and time to live go with the datagram; without, the stack's own. */
static void test_service_and_hops(void)
{
	static const uint8_t chosen[][2] = { { 0, 0 }, { 0x48, 0 }, { 0, 7 }, { 0xb8, 255 }, { 0, 0 } };
	int one = 1, natural = 0;
	static struct world w;
	uint16_t port = 0;
	int fd = bound(&port);

	CHECK(setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one)) == 0);
	CHECK(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one)) == 0);
	memset(&w, 0, sizeof(w));
	w.fd = -1;
	circuit_open(&w, NULL);
	permit(&w, port);
	for (uint32_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
		union {
			struct cmsghdr align;
			char bytes[256];
		} control;
		uint32_t number = i, got;
		struct iovec iov = { &got, sizeof(got) };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
		};
		int service = -1, hops = -1;

		put_frame(&w, port, &number, sizeof(number), chosen[i][0], chosen[i][1]);
		settle();
		CHECK(recvmsg(fd, &msg, MSG_DONTWAIT) == 4 && got == i);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_type == IP_TOS)
				service = *CMSG_DATA(c);
			if (c->cmsg_type == IP_TTL)
				memcpy(&hops, CMSG_DATA(c), sizeof(hops));
		}
		if (i == 0)
			natural = hops;
		CHECK(service == chosen[i][0] && hops == (chosen[i][1] ? chosen[i][1] : natural));
	}
	close(fd);
	circuit_close(w.circuit);
}

/* A socket at any port of an address, whose port is told. */
static int bound_at(struct csvn_host_address *a)
{
	struct sockaddr_storage name;
	socklen_t length = (socklen_t)address_to_system(a, &name);
	int fd = socket(name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, length) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0 && address_from_system(&name, a) == 0);
	return fd;
}

/* Type of service and time to live (traffic class and hop limit) of what comes are the guest's to see, of either family. */
static void marks_that_come(struct csvn_host_address here, struct csvn_host_address from)
{
	static const int chosen[][2] = { { 0, 64 }, { 0x48, 64 }, { 2, 7 }, { 0xff, 255 }, { 0, 1 } };
	bool four = here.family == 4;
	int level = four ? IPPROTO_IP : IPPROTO_IPV6, fd;
	struct csvn_host_permit sender = { .allowed = 1 };
	struct csvn_host_address to = from;
	struct sockaddr_storage name;
	static struct world w;
	socklen_t length;

	memset(&w, 0, sizeof(w));
	w.fd = -1;
	close(bound_at(&here));
	circuit_open(&w, &here);
	fd = bound_at(&from);
	sender.guest = sender.actual = from;
	CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, w.circuit, 0, &sender, sizeof(sender)) == 0);
	to.port = here.port;
	length = (socklen_t)address_to_system(&to, &name);
	for (uint32_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
		int service = chosen[i][0], hops = chosen[i][1];
		struct csvn_datagram d;
		uint32_t got;

		CHECK(setsockopt(fd, level, four ? IP_TOS : IPV6_TCLASS, &service, sizeof(service)) == 0);
		CHECK(setsockopt(fd, level, four ? IP_TTL : IPV6_UNICAST_HOPS, &hops, sizeof(hops)) == 0);
		CHECK(sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&name, length) == sizeof(i));
		settle();
		CHECK(take_frame(&w, &d, &got) && d.size == sizeof(i) && got == i);
		CHECK(d.service == service && d.hops == hops);
	}
	close(fd);
	circuit_close(w.circuit);
}

static void forbid(const struct world *w, uint16_t port)
{
	struct csvn_host_permit rule = { .guest = address_of(port), .actual = address_of(port), .error = EACCES, .number = port };

	CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, w->circuit, 0, &rule, sizeof(rule)) == 0);
}

/* What is not allowed in is not even in the ring's unpublished part, which the guest may read. A published port's circuit asks about strangers. */
static void test_forbidden(bool published)
{
	static const char secret[] = "not for the guest";
	uint8_t *ring = memory + offset_of(2); /* of the host's end */
	struct csvn_host_address here = { .family = 4 };
	uint16_t ports[3] = { 0 }, own = 0;
	struct csvn_datagram d;
	static struct world w;
	struct sockaddr_in to;
	socklen_t length = sizeof(to);
	uint32_t number = 5;
	int fds[3];

	close(bound(&own));
	here = address_of(own);
	memset(&w, 0, sizeof(w));
	w.fd = -1;
	circuit_open(&w, published ? &here : NULL);
	for (int i = 0; i < 3; i++)
		fds[i] = bound(&ports[i]);
	permit(&w, ports[0]);
	forbid(&w, ports[1]);
	put_frame(&w, ports[0], &number, sizeof(number), 0, 0);
	settle();
	CHECK(recvfrom(fds[0], &number, 4, 0, (struct sockaddr *)&to, &length) == 4);
	memset(ring, 0xee, RING);
	for (int i = 1; i < 3; i++) {
		CHECK(sendto(fds[i], secret, sizeof(secret), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(secret));
		settle();
		for (uint32_t at = 0; at < RING; at++)
			CHECK(ring[at] == 0xee);
		/* As the brain does, when it is asked. */
		if (published && i == 2) {
			forbid(&w, ports[2]);
			settle();
		}
	}
	for (uint32_t at = 0; at < RING; at++)
		CHECK(ring[at] == 0xee);
	number = 6;
	CHECK(sendto(fds[0], &number, 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
	settle();
	CHECK(take_frame(&w, &d, &number) && d.size == 4 && d.port == ports[0] && number == 6);
	CHECK(!take_frame(&w, &d, &number));
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	circuit_close(w.circuit);
}

/* The sources that were asked about since this was asked last. */
static uint32_t asked(void)
{
	struct client_event e;
	uint32_t count = 0;

	while (client_find(&client, CSVN_EVENT_HOST_SOURCE, &e))
		count++;
	return count;
}

/* A source is asked about once, whatever is said of others meanwhile; and again when it is forgotten. */
static void test_asked(void)
{
	struct csvn_host_address here = { .family = 4 };
	uint16_t port = 0, others = 1, own = 0;
	struct csvn_host_permit full = { .allowed = 1 };
	struct csvn_datagram d;
	static struct world w;
	struct sockaddr_in to;
	uint32_t number = 7;
	int fd = bound(&port);

	close(bound(&own));
	here = address_of(own);
	to = at(own);
	memset(&w, 0, sizeof(w));
	w.fd = -1;
	circuit_open(&w, &here);
	(void)asked();
	CHECK(sendto(fd, &number, 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
	settle();
	CHECK(asked() == 1);
	for (; others <= 1000; others++)
		(others % 2 ? permit : forbid)(&w, others);
	CHECK(asked() == 0);
	for (uint16_t i = 1; i <= 100; i++) {
		struct csvn_host_address a = address_of(i);

		client_command(&client, CSVN_COMMAND_DATAGRAM_FORGET, w.circuit, 0, &a, sizeof(a));
	}
	CHECK(asked() == 0);
	full.guest = full.actual = address_of(port);
	client_command(&client, CSVN_COMMAND_DATAGRAM_FORGET, w.circuit, 0, &full.guest, sizeof(full.guest));
	CHECK(asked() == 1);
	permit(&w, port);
	settle();
	CHECK(asked() == 0 && take_frame(&w, &d, &number) && number == 7);
	/* One that there is no room for is not asked about again and again. */
	client_command(&client, CSVN_COMMAND_DATAGRAM_FORGET, w.circuit, 0, &full.guest, sizeof(full.guest));
	for (others = 1; others <= PERMITS_MAX; others++)
		permit(&w, others);
	for (int i = 0; i < 2; i++) {
		CHECK(sendto(fd, &number, 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
		settle();
		CHECK(asked() == 1);
		CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, w.circuit, 0, &full, sizeof(full)) == -ENOBUFS);
		settle();
		CHECK(asked() == 0);
	}
	close(fd);
	circuit_close(w.circuit);
}

/* All that was sent before the end goes out, more than a turn's too. */
static void test_last_words(void)
{
	static struct world w;
	uint16_t port = 0;
	int fd = bound(&port);

	for (uint32_t round = 0; round < 20; round++) {
		uint32_t got, count = 0, sent = 1 + test_below(150);

		memset(&w, 0, sizeof(w));
		w.fd = -1;
		circuit_open(&w, NULL);
		permit(&w, port);
		for (uint32_t i = 0; i < sent; i++)
			put_frame(&w, port, &i, sizeof(i), 0, 0);
		csvn_set_state(&w.end, CSVN_STATE_CLOSED | CSVN_STATE_FIN);
		client_command(&client, CSVN_COMMAND_HOST_FINISH, w.circuit, 0, NULL, 0);
		settle();
		while (recv(fd, &got, sizeof(got), MSG_DONTWAIT) == 4)
			CHECK(got == count++);
		CHECK(count == sent);
		circuit_close(w.circuit);
		}
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t bytes = offset_of(4), seed;
	int fd;

	client_open(&client, -1);
	fd = memfd_create("arena", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	client_map(&client, ARENA, fd, bytes);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	test_seed(argc, argv);
	seed = test_random() % 1000000000u;
	test_service_and_hops();
	for (int any = 0; any <= 1; any++) { /* a wildcard's destinations come in control messages, too */
		struct csvn_host_address four = { .family = 4, .ip = { 127, 0, 0, 1 } };
		struct csvn_host_address six = { .family = 6, .ip = { [15] = 1 } };

		marks_that_come(any ? (struct csvn_host_address){ .family = 4 } : four, four);
		marks_that_come(any ? (struct csvn_host_address){ .family = 6 } : six, six);
	}
	test_forbidden(false);
	test_forbidden(true);
	test_asked();
	test_last_words();
	for (uint32_t i = 0; i < SCRIPTS; i++)
		run_script(seed + i);
	CHECK(munmap(memory, bytes) == 0);
	client_close(&client);
	return 0;
}
