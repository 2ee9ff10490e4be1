/* SPDX-License-Identifier: MIT */
/*
 * A guest that lies in its frames, its cursors and its state, beside peers in the host's stack and a brain that allows, forbids and revokes.
 * Only what some rule has allowed passes, in either direction; what comes to a guest that has not lied comes as it was sent; and of the arena
 * nothing is written but the host's own page and ring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>

#include "address.h"
#include "datagram.h"
#include "datagram_circuit.h"
#include "fresh_port.h"
#include "input.h"
#include "port_client.h"

#define PEERS 4u /* the last is nobody: its port is closed */
#define LOOPBACK 0x7f4e0001u /* 127.78.0.1, and those behind it: this target's own */
#define INPUTS 0xffff /* an address for each: what the kernel delivers late is nobody's then */
#define CIRCUIT 5
#define ARENA 3
#define ID 9u
#define MARKS 256u

/* Parts of the arena, in their order; the first and the last are nobody's. */
enum part { HEADER, OWN, PEER, TX, RX, REST, PARTS };

static struct client client;
static int peers[PEERS]; /* sockets; -1: nobody */
static struct csvn_host_address addresses[PEERS];
static uint8_t *arena, *shadow; /* and what it is to be, where the host does not write */
static uint32_t ring_size, offsets[PARTS + 1];
static struct csvn_end guest;
static bool honest; /* the guest, about what it has read */
static bool allowed[PEERS]; /* ever, by a rule for its address */
static bool known[PEERS]; /* ever, as the guest calls it */
static uint32_t lengths[MARKS]; /* of datagrams from peers, by what they are filled with, + 1 */
static uint8_t mark;
static bool open_now;

static void open_peers(void)
{
	static uint32_t inputs;
	uint32_t host = LOOPBACK + inputs++ % INPUTS;

	for (uint32_t i = 0; i < PEERS; i++) {
		bool six = i == 2;
		struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host) };
		struct sockaddr_in6 other = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
		struct sockaddr_storage bound;
		socklen_t bytes = sizeof(bound);

		peers[i] = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (six && (peers[i] < 0 || bind(peers[i], (struct sockaddr *)&other, sizeof(other)) < 0)) {
			/* A host without IPv6. */
			if (peers[i] >= 0)
				close(peers[i]);
			peers[i] = -1;
			addresses[i] = (struct csvn_host_address){ .family = 6, .port = 9, .ip[15] = 1 };
			continue;
		}
		CHECK(six || bind(peers[i], (struct sockaddr *)&four, sizeof(four)) == 0);
		CHECK(getsockname(peers[i], (struct sockaddr *)&bound, &bytes) == 0);
		CHECK(address_from_system(&bound, &addresses[i]) == 0);
		if (i == PEERS - 1) {
			close(peers[i]);
			peers[i] = -1;
		}
	}
}

static void make_arena(uint32_t size)
{
	const uint32_t sizes[PARTS] = { CSVN_PAGE, CSVN_PAGE, CSVN_PAGE, size, size, CSVN_PAGE };
	int fd = memfd_create("arena", MFD_CLOEXEC);

	ring_size = size;
	for (uint32_t i = 0; i < PARTS; i++)
		offsets[i + 1] = offsets[i] + sizes[i];
	CHECK(fd >= 0 && ftruncate(fd, offsets[PARTS]) == 0);
	arena = mmap(NULL, offsets[PARTS], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	shadow = calloc(1, offsets[PARTS]);
	CHECK(arena != MAP_FAILED && shadow);
	client_map(&client, ARENA, fd, offsets[PARTS]);
	close(fd);
}

/* The guest writes. */
static void guest_put(uint32_t offset, const void *bytes, uint32_t count)
{
	memcpy(arena + offset, bytes, count);
	memcpy(shadow + offset, bytes, count);
}

static void guest_word(uint32_t field, uint64_t value, uint32_t bytes)
{
	guest_put(offsets[PEER] + field, &value, bytes);
}

static void open_circuit(struct input *in)
{
	uint32_t how = input_byte(in);
	struct csvn_host_setup setup = { .id = ID,
					 .arena = ARENA,
					 .ring_size = ring_size,
					 .connection = -1,
					 .own_control = offsets[OWN],
					 .peer_control = offsets[PEER],
					 .tx_ring = offsets[TX],
					 .rx_ring = offsets[RX] };
	struct client_event e;

	if (how & 1)
		setup.remote = addresses[how & 2 ? 2 : 0];
	setup.remote.port = 0;
	if (how & 4)
		memset(setup.remote.ip, 0, sizeof(setup.remote.ip)); /* any */
	/* As a slot that was wiped. */
	memset(arena + offsets[OWN], 0, offsets[RX] - offsets[OWN]);
	memset(shadow + offsets[PEER], 0, CSVN_PAGE);
	csvn_end_init(&guest, (void *)(arena + offsets[PEER]), (void *)(arena + offsets[OWN]), arena + offsets[RX],
		      arena + offsets[TX], ring_size);
	client_command(&client, CSVN_COMMAND_DATAGRAM_OPEN, CIRCUIT, 0, &setup, sizeof(setup));
	CHECK(client_find(&client, CSVN_EVENT_HOST_CONNECTED, &e));
	open_now = e.header.aux == 0;
	honest = true;
}

static void close_circuit(void)
{
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, CIRCUIT, 0, NULL, 0);
	open_now = false;
}

/* Into the guest's ring, behind its tail. */
static void put_frame(struct input *in)
{
	static const uint32_t sizes[] = { 0, 1, 8, 100, 1000, 7000, 65507, 65508 };
	uint32_t how = input_byte(in), which = input_byte(in), size = sizes[how & 7], bytes;
	struct csvn_host_address to = addresses[which % PEERS];
	struct csvn_datagram d = { .size = size, .family = (uint8_t)to.family, .port = (uint16_t)to.port };
	uint8_t header[sizeof(d)];

	memcpy(d.ip, to.ip, sizeof(d.ip));
	if (how & 0x40) {
		d.service = input_byte(in);
		d.hops = input_byte(in);
	}
	memcpy(header, &d, sizeof(d));
	/* A lie, now and then. */
	if (how >= 0xe0)
		header[input_byte(in) % sizeof(header)] = input_byte(in);
	for (uint32_t i = 0; i < sizeof(header); i++)
		guest_put(offsets[RX] + ((uint32_t)(guest.tail + i) & (ring_size - 1)), &header[i], 1);
	bytes = frame_bytes(size);
	if (how & 0x20)
		bytes = input_u16(in);
	guest.tail += bytes;
	guest_word(offsetof(struct csvn_control, tail), guest.tail, 8);
}

static void lie(struct input *in)
{
	static const uint32_t fields[] = { offsetof(struct csvn_control, tail), offsetof(struct csvn_control, head),
					   offsetof(struct csvn_control, state), offsetof(struct csvn_control, sleep_rx),
					   offsetof(struct csvn_control, sleep_tx), offsetof(struct csvn_control, watch) };
	uint32_t which = input_byte(in), value = input_byte(in);

	if (which % 6 == 0) {
		guest.tail += which & 0x80 ? input_u64(in) : (uint64_t)(int8_t)value * 8;
		guest_word(fields[0], guest.tail, 8);
	} else if (which % 6 == 1) {
		guest.head += which & 0x80 ? input_u64(in) : (uint64_t)(int8_t)value * 8;
		guest_word(fields[1], guest.head, 8);
		honest = false;
	} else {
		guest_word(fields[which % 6], value, 4);
	}
}

static uint32_t peer_of(const struct csvn_host_address *a)
{
	uint32_t i = 0;

	while (i < PEERS && !address_same(&addresses[i], a))
		i++;
	return i;
}

/* Frames for the guest, as far as it reads. */
static void read_frames(uint32_t most)
{
	uint32_t ready;

	while (honest && open_now && most--) {
		struct csvn_host_address from = { 0 };
		uint8_t first = 0, bytes[sizeof(struct csvn_datagram)];
		struct csvn_datagram d;
		uint32_t who;

		CHECK(csvn_rx_ready(&guest, ring_size, &ready) == 0);
		if (!ready)
			return;
		CHECK(ready >= sizeof(d));
		for (uint32_t i = 0; i < sizeof(d); i++)
			bytes[i] = guest.rx[(guest.head + i) & (ring_size - 1)];
		memcpy(&d, bytes, sizeof(d));
		CHECK(d.size <= CSVN_DATAGRAM_MAX && frame_bytes(d.size) <= ready);
		from.family = d.family;
		from.port = d.port;
		memcpy(from.ip, d.ip, d.family == 4 ? 4 : 16);
		who = peer_of(&from);
		CHECK(who < PEERS && known[who]);
		CHECK(!d.error || d.size == 0);
		for (uint32_t i = 0; i < d.size; i++) {
			uint8_t byte = guest.rx[(guest.head + sizeof(d) + i) & (ring_size - 1)];

			if (i == 0)
				first = byte;
			CHECK(byte == first);
		}
		CHECK(d.size == 0 || lengths[first] == d.size + 1);
		guest.head += frame_bytes(d.size);
		guest_word(offsetof(struct csvn_control, head), guest.head, 8);
	}
}

/* What has come to the peers. */
static void hear(void)
{
	static uint8_t bytes[65536];
	struct csvn_host_address source;
	struct sockaddr_storage from;
	socklen_t length;

	for (uint32_t i = 0; i < PEERS; i++)
		while (peers[i] >= 0 && (length = sizeof(from), recvfrom(peers[i], bytes, sizeof(bytes), MSG_DONTWAIT,
									 (struct sockaddr *)&from, &length)) >= 0) {
			/* An IPv6 socket may have the port that another has for IPv4: then peers send to each other. */
			CHECK(address_from_system(&from, &source) == 0);
			CHECK(allowed[i] || peer_of(&source) < PEERS);
		}
}

static void peer_sends(struct input *in)
{
	static const uint32_t sizes[] = { 0, 1, 8, 100, 1000, 9000, 65507, 3 };
	static uint8_t bytes[65536];
	const struct host_datagram *h = handle_get(&client.port.host_datagrams, CIRCUIT);
	uint32_t how = input_byte(in), i = how >> 3 & 3, size = sizes[how & 7];
	struct csvn_host_address to = addresses[i];
	struct sockaddr_storage bound, out;
	socklen_t length = sizeof(bound);

	if (!h || peers[i] < 0 || mark == MARKS - 1)
		return;
	CHECK(getsockname(h->fd, (struct sockaddr *)&bound, &length) == 0);
	to.port = ntohs(bound.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&bound)->sin_port :
						     ((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
	/* Nothing was sent from it yet, and it is bound nowhere. */
	if (to.port == 0)
		return;
	memset(bytes, ++mark, size);
	lengths[mark] = size + 1;
	(void)sendto(peers[i], bytes, size, MSG_DONTWAIT, (struct sockaddr *)&out,
		     (socklen_t)address_to_system(&to, &out));
}

static void set_permit(struct input *in)
{
	uint32_t who = input_byte(in), how = input_byte(in), actual = who >> 2 & 1 ? who % PEERS : who >> 3 & 3;
	struct csvn_host_permit rule = { .guest = addresses[who % PEERS],
					 .actual = addresses[actual],
					 .allowed = how & 1,
					 .error = how & 2 ? ECONNREFUSED : 0,
					 .number = how >> 4 };

	if ((how & 0xc) == 0xc)
		rule.number = CSVN_MOVED_MAX - 8 + (how >> 4);
	known[who % PEERS] = true;
	allowed[actual] |= rule.allowed;
	(void)client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, CIRCUIT, 0, &rule, sizeof(rule));
}

static void flag(struct input *in)
{
	uint32_t what = input_byte(in);
	uint8_t *at = what & 1 ? &client.link.shared->revoked_permits[what >> 4] :
				   &client.link.shared->revoked_circuits[CIRCUIT];

	*at = what >> 1 & 1;
}

/* The brain answers a question, or some other. */
static void answer(struct input *in)
{
	struct client_event e;
	uint32_t how = input_byte(in);
	struct csvn_host_address address = addresses[how % PEERS];
	struct csvn_host_permit rule = { .number = how >> 4 };
	uint32_t who;

	if (client_find(&client, CSVN_EVENT_HOST_SOURCE, &e))
		memcpy(&address, e.bytes, sizeof(address));
	who = peer_of(&address);
	if (how & 8) {
		client_command(&client, CSVN_COMMAND_DATAGRAM_FORGET, CIRCUIT, 0, &address, sizeof(address));
		return;
	}
	rule.guest = rule.actual = address;
	rule.allowed = how >> 2 & 1;
	if (who < PEERS) {
		known[who] = true;
		allowed[who] |= rule.allowed;
	}
	(void)client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, CIRCUIT, 0, &rule, sizeof(rule));
}

static void begin(struct input *in)
{
	open_peers();
	memset(allowed, 0, sizeof(allowed));
	memset(known, 0, sizeof(known));
	memset(lengths, 0, sizeof(lengths));
	mark = 0;
	make_arena(input_byte(in) & 1 ? 128u << 10 : CSVN_RING_MIN);
	open_circuit(in);
}

static void end(void)
{
	hear();
	client_close(&client);
	/* Neither the guest's page and ring, nor what is nobody's. */
	CHECK(memcmp(arena, shadow, offsets[OWN]) == 0);
	CHECK(memcmp(arena + offsets[PEER], shadow + offsets[PEER], CSVN_PAGE) == 0);
	CHECK(memcmp(arena + offsets[RX], shadow + offsets[RX], offsets[PARTS] - offsets[RX]) == 0);
	munmap(arena, offsets[PARTS]);
	free(shadow);
	for (uint32_t i = 0; i < PEERS; i++)
		if (peers[i] >= 0)
			close(peers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	int before = fresh_port(&client);

	begin(&in);
	while (in.at < in.end) {
		switch (input_byte(&in) % 16) {
		case 0:
		case 1:
		case 2:
			put_frame(&in);
			break;
		case 3:
		case 4:
			datagram_doorbell(&client.port, CIRCUIT);
			break;
		case 5:
			client_turn(&client);
			break;
		case 6:
		case 7:
			set_permit(&in);
			break;
		case 8:
		case 9:
			peer_sends(&in);
			break;
		case 10:
			read_frames(input_byte(&in) % 8u);
			break;
		case 11:
			answer(&in);
			break;
		case 12:
			lie(&in);
			break;
		case 13:
			flag(&in);
			break;
		case 14:
			hear();
			break;
		case 15:
			if (input_byte(&in) < 128) {
				client_command(&client, CSVN_COMMAND_HOST_FINISH, CIRCUIT, 0, NULL, 0);
			} else {
				close_circuit();
				open_circuit(&in);
			}
			break;
		}
	}
	client_turn(&client);
	read_frames(UINT32_MAX);
	close_circuit();
	end();
	descriptors_check(before);
	return 0;
}
