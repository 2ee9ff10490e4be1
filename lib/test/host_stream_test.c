/* SPDX-License-Identifier: MIT */
/*
 * Streams by the pump beside plain TCP sockets: the same random script runs over a circuit (fake guest, ring, pump, socket)
 * and over a connection of two sockets, step by step, and each side must have seen the same bytes and the same ends.
 *
 *     host_stream_test [seed]            all of it
 *     host_stream_test -- SEED…          these scripts alone, each step printed
 *
 * Scripts keep few enough bytes under way that neither kernel drops any at a reset, but more than the ring holds. Those of the
 * second kind move many, through rings and sockets that are full, and end without resets: every byte arrives, then the end of file.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "host.h"
#include "host_circuit.h"
#include "host_connection.h"
#include "port_client.h"

#define LOOPBACK 0x7f4d6203u /* 127.77.98.3: this test's own */
/* As the kernel numbers them; linux/tcp.h, which has the newer fields of tcp_info, does not. */
enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2 = 5, TCP_CLOSE = 7 };
#define RING CSVN_RING_MIN
#define UNDER_WAY 40000u /* more than a ring, less than a socket's first window */
#define SCRIPTS 1000u
#define BULKS 60u
#define PATIENCE_MS 20000
#define ARENA 3 /* numbers */
#define CIRCUIT 11

static struct client client;
static int listener;
static uint8_t *memory;
static bool loud;

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The byte at this place of a direction. */
static uint8_t byte_at(int direction, uint64_t at)
{
	return (uint8_t)((at * 2654435761u) >> 13 ^ at ^ (uint64_t)direction << 7);
}

/* One side: a socket, or the guest's end of a circuit. */
struct side {
	int fd; /* -1: closed, or the guest's */
	bool guest, open;
	int direction; /* that it writes */
	uint64_t wrote, read;
	bool eof, reset, pipe; /* seen */
	bool late; /* a write went nowhere since bytes from before a reset are to be read first */
	/* the guest's: what the module keeps of a socket */
	struct csvn_end end;
	int circuit;
	bool fin, broken, done;
	int error; /* sk_err */
};

static void ring(struct side *s)
{
	host_doorbell(&client.port, s->circuit);
}

/* As csvn_look() of the module. */
static void look(struct side *s)
{
	uint32_t state = csvn_peer_state(&s->end);

	if (s->broken)
		return;
	if (state & CSVN_STATE_FIN)
		s->done = true;
	if (state & CSVN_STATE_RESET)
		s->error = state & CSVN_STATE_FIN ? EPIPE : ECONNRESET;
	else if (state & CSVN_STATE_CLOSED && s->end.tail != CSVN_LOAD_ACQUIRE(&s->end.peer->head))
		s->error = EPIPE;
	else
		return;
	s->broken = true;
}

static int take_error(struct side *s, int otherwise)
{
	int error = s->error ? s->error : otherwise;

	s->error = 0;
	return -error;
}

static int guest_write(struct side *s, const uint8_t *bytes, uint32_t count)
{
	struct iovec iov[2];
	uint32_t room;

	look(s);
	if (s->broken || s->fin)
		return take_error(s, EPIPE);
	CHECK(csvn_tx_room(&s->end, RING, &room) == 0);
	if (!room)
		return -EAGAIN;
	if (count > room)
		count = room;
	(void)ring_pieces(s->end.tx, RING, s->end.tail, count, iov);
	memcpy(iov[0].iov_base, bytes, iov[0].iov_len);
	memcpy(iov[1].iov_base, bytes + iov[0].iov_len, iov[1].iov_len);
	csvn_tx_publish(&s->end, count);
	if (csvn_wants_rx(&s->end))
		ring(s);
	return (int)count;
}

static int guest_read(struct side *s, uint8_t *bytes, uint32_t count)
{
	struct iovec iov[2];
	uint32_t ready;

	look(s);
	CHECK(csvn_rx_ready(&s->end, RING, &ready) == 0);
	if (!ready) {
		if (s->done)
			return 0;
		if (s->error)
			return take_error(s, 0);
		return s->broken ? 0 : -EAGAIN;
	}
	if (count > ready)
		count = ready;
	(void)ring_pieces(s->end.rx, RING, s->end.head, count, iov);
	memcpy(bytes, iov[0].iov_base, iov[0].iov_len);
	memcpy(bytes + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	csvn_rx_release(&s->end, count);
	if (csvn_wants_tx(&s->end))
		ring(s);
	return (int)count;
}

static void guest_state(struct side *s, uint32_t state)
{
	csvn_set_state(&s->end, state);
	if (csvn_wants_state(&s->end, state))
		ring(s);
}

static void guest_close(struct side *s, bool reset)
{
	uint32_t fin = s->fin ? CSVN_STATE_FIN : 0;

	reset = reset || CSVN_LOAD_ACQUIRE(&s->end.peer->tail) != s->end.head;
	guest_state(s, fin | CSVN_STATE_CLOSED | (reset ? CSVN_STATE_RESET : CSVN_STATE_FIN));
	/* CLOSE reaches the switch at once, or later. */
	if (test_below(2))
		client_command(&client, CSVN_COMMAND_HOST_FINISH, s->circuit, 0, NULL, 0);
}

static int raw_write(struct side *s, const uint8_t *bytes, uint32_t count)
{
	ssize_t n;

	if (s->guest)
		return guest_write(s, bytes, count);
	n = send(s->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : (int)n;
}

static int raw_read(struct side *s, uint8_t *bytes, uint32_t count)
{
	ssize_t n;

	if (s->guest)
		return guest_read(s, bytes, count);
	n = recv(s->fd, bytes, count, MSG_DONTWAIT);
	return n < 0 ? -errno : (int)n;
}

static void see(struct side *s, int rc)
{
	s->reset |= rc == -ECONNRESET;
	s->pipe |= rc == -EPIPE;
}

/* The circuit's socket, or -1. */
static int socket_of(int circuit)
{
	const struct host_circuit *h = handle_get(&client.port.host_circuits, circuit);

	return h ? h->fd : -1;
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { .tcpi_state = TCP_CLOSE };
	socklen_t bytes = sizeof(info);

	(void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes);
	return info;
}

static int tcp_state(int fd)
{
	return info_of(fd).tcpi_state;
}

/* What a socket has sent is at the other. */
static bool arrived(int from, int to)
{
	struct tcp_info a = info_of(from), b = info_of(to);

	return a.tcpi_state == TCP_CLOSE || b.tcpi_state == TCP_CLOSE ||
	       (!a.tcpi_notsent_bytes && a.tcpi_bytes_sent - a.tcpi_bytes_retrans <= b.tcpi_bytes_received);
}

enum what { WRITE, READ, SHUT, CLOSE, RESET, WHATS };

struct world {
	const char *name;
	struct side side[2]; /* 0: near (the guest, where there is one), 1: far */
	int circuit; /* -1: none */
};

/* The socket that the far side talks to. */
static int near_socket(const struct world *w)
{
	return w->circuit < 0 ? w->side[0].fd : socket_of(w->circuit);
}

/* The kernel may deliver late, when it is busy. */
static void world_settle(const struct world *w)
{
	uint64_t began = milliseconds();

	do {
		if (w->circuit >= 0)
			client_settle(&client);
	} while (!(arrived(w->side[1].fd, near_socket(w)) && arrived(near_socket(w), w->side[1].fd)) &&
		 milliseconds() - began < 1000);
	if (w->circuit >= 0)
		client_settle(&client);
}

/* A close shows in the state of the socket at the other end, if that is one to which it makes a difference. */
static void await_change(const struct world *w, int who, int before)
{
	uint64_t began = milliseconds();

	for (;;) {
		int fd = who ? near_socket(w) : w->side[1].fd;

		if (fd < 0 || before == TCP_CLOSE || tcp_state(fd) != before || milliseconds() - began > 1)
			return;
		world_settle(w);
	}
}

/* A dead connection has more bytes for the guest than its ring holds. */
static bool is_broken(int circuit)
{
	const struct host_circuit *h = handle_get(&client.port.host_circuits, circuit);

	return h && h->state == HOST_BROKEN;
}

/* Write it all, unless there is an error. */
static void do_write(struct world *w, struct side *s, uint32_t count)
{
	static uint8_t bytes[UNDER_WAY];
	int tries = 0;

	for (uint32_t i = 0; i < count; i++)
		bytes[i] = byte_at(s->direction, s->wrote + i);
	s->late |= s->guest && is_broken(s->circuit);
	for (uint32_t at = 0; at < count;) {
		int n = raw_write(s, bytes + at, count - at);

		if (n == -EAGAIN && tries++ < 1000) {
			world_settle(w);
			continue;
		}
		if (n < 0) {
			see(s, n);
			break;
		}
		/* What a socket takes in one call, a ring takes in several; but an error after a part of it is the next call's. */
		if (s->guest && at + (uint32_t)n < count)
			world_settle(w);
		if (s->guest)
			look(s);
		if (s->guest && s->broken) {
			s->wrote += (uint32_t)n;
			break;
		}
		at += (uint32_t)n;
		s->wrote += (uint32_t)n;
	}
}

/* Read so much, or what there is: the bytes. */
static uint32_t do_read(struct world *w, struct side *s, uint32_t count)
{
	static uint8_t bytes[4 * UNDER_WAY];
	uint32_t got = 0;

	while (got < count) {
		int n = raw_read(s, bytes, count - got);

		if (n <= 0) {
			see(s, n);
			s->eof |= n == 0;
			break;
		}
		for (int i = 0; i < n; i++)
			CHECK(bytes[i] == byte_at(!s->direction, s->read + (uint64_t)i));
		s->read += (uint64_t)n;
		got += (uint32_t)n;
		world_settle(w);
	}
	return got;
}

static void do_close(struct side *s, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	s->open = false;
	if (s->guest) {
		guest_close(s, reset);
		return;
	}
	if (reset)
		CHECK(setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	close(s->fd);
	s->fd = -1;
}

static uint64_t unread(const struct world *w, int writer)
{
	return w->side[writer].wrote - w->side[!writer].read;
}

static uint32_t step(struct world *w, int who, enum what what, uint32_t count)
{
	struct side *s = &w->side[who];
	int other = who ? near_socket(w) : w->side[1].fd;
	int before = other < 0 ? TCP_CLOSE : tcp_state(other);
	uint32_t got = 0;
	bool reset;

	switch (what) {
	case WRITE:
		do_write(w, s, count);
		break;
	case READ:
		got = do_read(w, s, count);
		break;
	case SHUT:
		if (s->guest && !s->fin)
			guest_state(s, CSVN_STATE_FIN);
		if (!s->guest)
			(void)shutdown(s->fd, SHUT_WR);
		s->fin = true;
		break;
	default:
		reset = what == RESET || unread(w, !who);
		do_close(s, what == RESET);
		if (reset || before == ESTABLISHED || before == FIN_WAIT1 || before == FIN_WAIT2)
			await_change(w, who, before);
		break;
	}
	world_settle(w);
	return got;
}

static void connect_pair(int fds[2], bool far_accepts)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	socklen_t length = sizeof(to);
	int one = 1, a, b;

	CHECK(getsockname(listener, (struct sockaddr *)&to, &length) == 0);
	a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(a >= 0 && connect(a, (struct sockaddr *)&to, sizeof(to)) == 0);
	b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(b >= 0);
	for (int i = 0; i < 2; i++)
		CHECK(setsockopt(i ? a : b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 &&
		      fcntl(i ? a : b, F_SETFL, O_NONBLOCK) == 0);
	fds[0] = far_accepts ? a : b;
	fds[1] = far_accepts ? b : a;
}

static uint64_t offset_of(uint32_t part)
{
	return CSVN_PAGE + (part < 2 ? part * CSVN_PAGE : 2 * CSVN_PAGE + (part - 2) * RING);
}

static int add_connection(int fd)
{
	int rc = host_connection_add(&client.port, fd);

	CHECK(rc >= 0);
	return rc;
}

static void circuit_open(struct world *w, bool outbound)
{
	struct csvn_host_setup setup = { .id = 7,
					 .arena = ARENA,
					 .ring_size = RING,
					 .own_control = offset_of(0),
					 .peer_control = offset_of(1),
					 .tx_ring = offset_of(2),
					 .rx_ring = offset_of(3),
					 .connection = -1 };
	struct side *near = &w->side[0];
	struct sockaddr_in to = { 0 };
	socklen_t length = sizeof(to);
	uint32_t address = htonl(LOOPBACK);
	struct client_event e;
	int fds[2];

	memset(memory, 0, offset_of(4));
	CHECK(getsockname(listener, (struct sockaddr *)&to, &length) == 0);
	if (outbound) {
		setup.remote = (struct csvn_host_address){ .family = 4, .port = ntohs(to.sin_port) };
		memcpy(setup.remote.ip, &address, sizeof(address));
	} else {
		connect_pair(fds, false);
		setup.connection = add_connection(fds[0]);
		w->side[1].fd = fds[1];
	}
	csvn_end_init(&near->end, (void *)(memory + setup.peer_control), (void *)(memory + setup.own_control),
		      memory + setup.rx_ring, memory + setup.tx_ring, RING);
	csvn_watch(&near->end);
	w->circuit = near->circuit = CIRCUIT;
	client_command(&client, CSVN_COMMAND_HOST_OPEN, CIRCUIT, 0, &setup, sizeof(setup));
	if (outbound) {
		w->side[1].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		CHECK(w->side[1].fd >= 0);
	}
	near->guest = true;
	client_settle(&client);
	CHECK(client_find(&client, CSVN_EVENT_HOST_CONNECTED, &e) && e.header.aux == 0);
}

static void worlds_open(struct world w[2], bool outbound)
{
	int fds[2];

	memset(w, 0, 2 * sizeof(*w));
	for (int i = 0; i < 2; i++) {
		w[i].name = i ? "circuit" : "native";
		w[i].circuit = -1;
		for (int j = 0; j < 2; j++)
			w[i].side[j] = (struct side){ .fd = -1, .open = true, .direction = j };
	}
	connect_pair(fds, outbound);
	w[0].side[0].fd = fds[0];
	w[0].side[1].fd = fds[1];
	circuit_open(&w[1], outbound);
}

static void worlds_close(struct world w[2])
{
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++)
			if (w[i].side[j].fd >= 0)
				close(w[i].side[j].fd);
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, w[1].circuit, 0, NULL, 0);
	client.count = 0;
}

static const char *end_of(const struct side *s)
{
	return s->reset ? "reset" : s->pipe ? "broken pipe" : s->eof ? "end of file" : "none";
}

/* Whatever is there is read, to the end, and errors that wait are seen. */
static void read_out(struct world *w, int who)
{
	struct side *s = &w->side[who];
	socklen_t bytes = sizeof(int);
	int error = 0;

	if (!s->open)
		return;
	while (do_read(w, s, UNDER_WAY))
		;
	if (s->guest) {
		look(s);
		error = -take_error(s, 0);
	} else {
		CHECK(getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0);
	}
	see(s, -error);
}

static bool same(const struct world w[2], const char *when)
{
	for (int who = 0; who < 2; who++) {
		const struct side *a = &w[0].side[who], *b = &w[1].side[who];

		/* Who closes without reading does not see the end that it would have seen by reading. */
		if (a->read == b->read && (!when || strcmp(end_of(a), end_of(b)) == 0 || (b->late && !b->open)))
			continue;
		fprintf(stderr, "%s side%s: native read %" PRIu64 " and saw %s, over the circuit %" PRIu64 " and %s\n",
			who ? "far" : "near", when ? when : "", a->read, end_of(a), b->read, end_of(b));
		return false;
	}
	return true;
}

static bool run_script(uint64_t seed)
{
	static const char *names[] = { "write", "read", "shutdown", "close", "reset" };
	struct world w[2];
	uint32_t steps;
	bool ok = true, outbound;

	test_random_state = seed * 2654435761u + 1;
	outbound = test_below(2);
	steps = 2 + test_below(14);
	worlds_open(w, outbound);
	if (loud)
		printf("script %" PRIu64 ", %s\n", seed, outbound ? "outbound" : "inbound");
	for (uint32_t i = 0; i < steps && ok && (w[0].side[0].open || w[0].side[1].open); i++) {
		static const uint8_t odds[] = { WRITE, WRITE, WRITE, READ, READ, SHUT, CLOSE, RESET };
		enum what what = (enum what)odds[test_below(sizeof(odds))];
		int who = (int)test_below(2);
		uint64_t under_way = unread(&w[0], who);
		uint32_t most = under_way < UNDER_WAY ? UNDER_WAY - (uint32_t)under_way : 0;
		uint32_t count = 1 + test_below(test_below(2) ? 300 : UNDER_WAY);
		uint32_t got[2];

		/* A guest that closed in the middle of its stream reads no more, and its bytes stay under way. */
		if (!w[0].side[who].open || (what == WRITE && (w[0].side[who].fin || !most)))
			continue;
		if (what == WRITE && count > most)
			count = most;
		if (loud)
			printf("  %s %s %u\n", who ? "far" : "near", names[what], count);
		for (int j = 0; j < 2; j++) {
			uint64_t kept = test_random_state;

			got[j] = step(&w[j], who, what, count);
			if (!j)
				test_random_state = kept;
		}
		ok = got[0] == got[1] && same(w, NULL);
		if (got[0] != got[1])
			fprintf(stderr, "step %u: read %u natively, %u over the circuit\n", i, got[0], got[1]);
	}
	for (int who = 0; who < 2 && ok; who++)
		for (int j = 0; j < 2; j++)
			read_out(&w[j], who);
	ok = ok && same(w, ", at last");
	if (!ok)
		fprintf(stderr, "script %" PRIu64 " differs: run it alone with -- %" PRIu64 "\n", seed, seed);
	worlds_close(w);
	return ok;
}

/* Many bytes both ways, slow readers, half-closes in any order; all arrive. */
static bool run_bulk(uint64_t seed)
{
	static uint8_t bytes[65536];
	struct world both[2], *w = &both[1];
	uint64_t total[2], began = milliseconds();
	uint32_t greed[2], pause;
	bool ok = true;

	test_random_state = seed * 2654435761u + 1;
	worlds_open(both, test_below(2));
	pause = 8 + test_below(64);
	for (int i = 0; i < 2; i++) {
		greed[i] = 1 + test_below(test_below(2) ? 700 : 60000);
		/* In so many steps as take no time worth mentioning. */
		total[i] = test_below(3) ? test_below(greed[i] < 300 ? greed[i] * 2000 : 600000) : test_below(3);
	}
	while (!w->side[0].eof || !w->side[1].eof) {
		int who = (int)test_below(2);
		struct side *s = &w->side[who];
		uint64_t left = total[who] - s->wrote;

		if (test_below(pause) == 0)
			usleep(test_below(300));
		client_turn(&client);
		if (milliseconds() - began > PATIENCE_MS) {
			fprintf(stderr,
				"bulk %" PRIu64 " stands still: %" PRIu64 " of %" PRIu64 " there, %" PRIu64
				" of %" PRIu64 " back, ends: far %s, near %s\n",
				seed, w->side[1].read, total[0], w->side[0].read, total[1], end_of(&w->side[1]),
				end_of(&w->side[0]));
			ok = false;
			break;
		}
		if (test_below(2) && !s->fin) {
			uint32_t n = left < greed[who] ? (uint32_t)left : greed[who];
			int rc;

			for (uint32_t i = 0; i < n; i++)
				bytes[i] = byte_at(who, s->wrote + i);
			rc = n ? raw_write(s, bytes, n) : 0;
			CHECK(rc >= 0 || rc == -EAGAIN);
			s->wrote += rc > 0 ? (uint64_t)rc : 0;
			began = rc > 0 ? milliseconds() : began;
			if (s->wrote == total[who]) {
				s->fin = true;
				if (s->guest)
					guest_state(s, CSVN_STATE_FIN);
				else
					CHECK(shutdown(s->fd, SHUT_WR) == 0);
			}
		} else if (!s->eof) {
			int rc = raw_read(s, bytes, greed[!who]);

			CHECK(rc >= 0 || rc == -EAGAIN);
			for (int i = 0; i < rc; i++)
				CHECK(bytes[i] == byte_at(!who, s->read + (uint64_t)i));
			s->read += rc > 0 ? (uint64_t)rc : 0;
			began = rc > 0 ? milliseconds() : began;
			s->eof = rc == 0;
		}
	}
	if (ok)
		CHECK(w->side[0].read == total[1] && w->side[1].read == total[0]);
	worlds_close(both);
	return ok;
}

static void open_all(void)
{
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(LOOPBACK) };
	uint64_t bytes = offset_of(4);
	int fd;

	client_open(&client, -1);
	fd = memfd_create("arena", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	client_map(&client, ARENA, fd, bytes);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&local, sizeof(local)) == 0);
	CHECK(listen(listener, 16) == 0);
}

int main(int argc, char **argv)
{
	uint32_t wrong = 0;
	uint64_t seed;

	open_all();
	if (argc > 2 && strcmp(argv[1], "--") == 0) {
		loud = true;
		for (int i = 2; i < argc; i++)
			wrong += !run_script(strtoull(argv[i], NULL, 0));
		return wrong != 0;
	}
	test_seed(argc, argv);
	seed = test_random() % 1000000000u;
	for (uint32_t i = 0; i < SCRIPTS; i++)
		wrong += !run_script(seed + i);
	for (uint32_t i = 0; i < BULKS && wrong < 10; i++)
		wrong += !run_bulk(seed + i);
	if (wrong)
		fprintf(stderr, "%u of %u scripts differ\n", wrong, SCRIPTS + BULKS);
	client_close(&client);
	return wrong != 0;
}
