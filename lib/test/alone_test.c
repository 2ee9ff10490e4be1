/* SPDX-License-Identifier: MIT */
/*
 * A port whose brain is gone, as its front-end sees it: whatever was under way, each request that wants an answer has one, once and in order, and as the brain had
 * answered it; messages that are cut at any byte are completed; the descriptors that they bring are closed. And all that the brain has let there be is let go of.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "descriptors.h"
#include "front_end.h"
#include "port_client.h"

/* Requests of vhost-user. */
enum {
	GET_FEATURES = 1,
	SET_MEM_TABLE = 5,
	SET_NUM = 8,
	SET_BASE = 10,
	GET_BASE = 11,
	GET_PROTOCOL = 15,
	SET_PROTOCOL = 16,
	GET_QUEUES = 17,
	GET_CONFIG = 24,
	SET_CONFIG = 25,
	GET_WINDOW = 44,
};
#define REPLY_ACK 8u
#define FLAGS 1u
#define NEED_REPLY 9u
#define FLAGS_REPLY 5u
#define FEATURES 0x170000000ull
#define QUEUE 7u
#define SCRIPTS 100u /* the end of each port takes a while, for its context of asynchronous I/O */
#define WAITING 100u /* answers that a front-end waits for at a time */
#define TURNS 20 /* in which a port that has something to do has done it */

static struct client client;
static int front; /* the front-end's end */
static int errors; /* where they went at first */

static void turns(int count)
{
	for (int i = 0; i < count && !client.port.over; i++)
		client_turn(&client);
}

static void send_bytes(const void *message, size_t from, size_t to)
{
	if (from < to)
		front_end_send(front, (const uint8_t *)message + from, to - from, -1);
}

static void ask(uint32_t request, uint32_t flags, uint32_t size, uint32_t word)
{
	uint32_t message[3 + 64] = { request, flags, size, word };

	CHECK(size <= sizeof(message) - 12);
	send_bytes(message, 0, 12 + size);
}

/* The brain's answer. */
static void answer(uint32_t request, const void *payload, uint32_t size)
{
	uint32_t reply[3 + 64] = { request, FLAGS_REPLY, size };

	CHECK(size <= sizeof(reply) - 12);
	if (size)
		memcpy(reply + 3, payload, size);
	client_put(&client, CSVN_COMMAND_SEND, 0, 0, reply, 12 + size);
}

static void answer_word(uint32_t request, uint64_t value)
{
	answer(request, &value, sizeof(value));
}

/* The next answer that the front-end has got: the bytes of its payload; -1: there is none. */
static int got(uint32_t request, void *payload, uint32_t room)
{
	uint32_t header[3];
	ssize_t n = recv(front, header, sizeof(header), MSG_DONTWAIT);

	if (n < 0)
		return -1;
	CHECK(n == sizeof(header) && header[0] == request && header[1] == FLAGS_REPLY && header[2] <= room);
	CHECK(header[2] == 0 || recv(front, payload, header[2], MSG_DONTWAIT) == (ssize_t)header[2]);
	return (int)header[2];
}

static void comes(uint32_t request, uint64_t value)
{
	uint64_t payload;

	CHECK(got(request, &payload, sizeof(payload)) == sizeof(payload) && payload == value);
}

static void nothing_comes(void)
{
	char byte;

	turns(2);
	CHECK(recv(front, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* Whatever was before it, this is asked now, and its answer is the next that comes. */
static void asks(void)
{
	ask(GET_FEATURES, FLAGS, 0, 0);
	turns(TURNS);
	comes(GET_FEATURES, FEATURES);
	nothing_comes();
}

/* A front-end that has asked for features, and been told. */
static void begin(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	client_open(&client, pair[0]);
	front = pair[1];
	ask(GET_FEATURES, FLAGS, 0, 0);
	(void)client_await(&client, CSVN_EVENT_MESSAGE);
	answer_word(GET_FEATURES, FEATURES);
	client_turn(&client);
	comes(GET_FEATURES, FEATURES);
}

static void negotiate(uint32_t features)
{
	ask(SET_PROTOCOL, FLAGS, 8, features);
	(void)client_await(&client, CSVN_EVENT_MESSAGE);
}

/* The brain is gone; the port hears of it in its next turn. */
static void die(void)
{
	close(client.link.files);
	client.link.files = -1;
}

/* The port has heard of it. Its errors go nowhere any more: here they are the test's. */
static void heard(void)
{
	struct stat here, nowhere;

	client_turn(&client);
	CHECK(client.port.alone || client.port.over);
	CHECK(fstat(STDERR_FILENO, &here) == 0 && fstat(STDIN_FILENO, &nowhere) == 0);
	CHECK(dup2(errors, STDERR_FILENO) == STDERR_FILENO);
	CHECK(!client.port.alone || (here.st_ino == nowhere.st_ino && here.st_dev == nowhere.st_dev));
}

/* The front-end goes, and so does the port. */
static void end(void)
{
	close(front);
	turns(TURNS);
	CHECK(client.port.over);
	client_close(&client);
}

static const uint32_t get_base[5] = { GET_BASE, FLAGS, 8, QUEUE, 0 }; /* wants an answer */
static const uint32_t set_base[5] = { SET_BASE, FLAGS, 8, QUEUE, 256 }; /* wants none */

/* So much of a message is read when the brain goes, the rest is there by then or not, and the same message comes behind it, or another. */
static void test_reading(void)
{
	for (uint32_t i = 0; i < 4 * (sizeof(get_base) + 1); i++) {
		uint32_t taken = i / 4;
		bool wants = i & 1, late = i & 2, same = test_below(2);
		const uint32_t *message = wants ? get_base : set_base;
		const uint32_t *next = same ? message : wants ? set_base : get_base;

		begin();
		send_bytes(message, 0, taken);
		client_turn(&client);
		if (!late) {
			send_bytes(message, taken, sizeof(get_base));
			send_bytes(next, 0, sizeof(get_base));
		}
		die();
		heard();
		if (late) {
			for (uint32_t at = taken; at < sizeof(get_base); at++) {
				send_bytes(message, at, at + 1);
				client_turn(&client);
			}
			send_bytes(next, 0, sizeof(get_base));
		}
		turns(TURNS);
		if (wants)
			comes(GET_BASE, QUEUE);
		if (next == get_base)
			comes(GET_BASE, QUEUE);
		asks();
		end();
	}
}

/* A long payload, of which any part was read. */
static void test_long(void)
{
	static const uint32_t message[3 + 1024] = { SET_CONFIG, NEED_REPLY, 4096, QUEUE };

	for (uint32_t taken = 0; taken <= sizeof(message); taken += 1 + test_below(300)) {
		begin();
		negotiate(REPLY_ACK);
		send_bytes(message, 0, taken);
		client_turn(&client);
		die();
		heard();
		send_bytes(message, taken, sizeof(message));
		turns(TURNS);
		comes(SET_CONFIG, 0);
		asks();
		end();
	}
}

/* Of requests that were passed on some are answered, and some answers are on their way when the brain goes: in one turn's commands, or in more. */
static void test_answering(void)
{
	for (uint32_t round = 0; round < 40; round++) {
		uint32_t asked = test_below(200), done = test_below(asked + 1);
		uint32_t put = done + test_below(asked - done + 1), taken = 0;

		begin();
		for (uint32_t i = 0; i < asked; i++) {
			ask(GET_BASE, FLAGS, 8, i);
			if (i % 50 == 0)
				client_turn(&client);
		}
		/* They are on their way to the brain, or it has taken them. */
		if (round % 2)
			turns(TURNS);
		for (uint32_t i = 0; i < put; i++) {
			while (!client_find(&client, CSVN_EVENT_MESSAGE, &(struct client_event){ .bytes = { 0 } }))
				client_turn(&client);
			/* More than a turn obeys. */
			if (i == done && round % 4 == 0)
				for (int n = 0; n < 400; n++)
					client_put(&client, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0);
			answer_word(GET_BASE, i);
			if (i < done && test_below(3) == 0)
				client_turn(&client);
			/* What the front-end does not read is not the port's fault. */
			if (client.port.done == client.given)
				for (; taken <= i; taken++)
					comes(GET_BASE, taken);
		}
		die();
		heard();
		for (int i = 0; i < 100; i++) {
			uint64_t payload;

			while (got(GET_BASE, &payload, sizeof(payload)) > 0)
				CHECK(payload == taken++);
			turns(1);
		}
		CHECK(taken == asked);
		asks();
		end();
	}
}

/* So many at once, as far as a socket goes: none is left for the next message to remind of it. */
static void test_turns(void)
{
	for (uint32_t n = 0; n < 2 * 12; n++) {
		static const uint32_t some[] = { 1, 2, 63, 64, 65, 127, 128, 129 };
		uint32_t asked = n / 2 < 8 ? some[n / 2] : 1 + test_below(200);
		bool before = n % 2;

		begin();
		if (!before) {
			die();
			heard();
		}
		for (uint32_t i = 0; i < asked; i++)
			ask(GET_BASE, FLAGS, 8, i);
		if (before) {
			die();
			heard();
		}
		turns(TURNS);
		for (uint32_t i = 0; i < asked; i++)
			comes(GET_BASE, i);
		nothing_comes();
		asks();
		end();
	}
}

/* As the brain has answered last; what it was never asked is empty, and as long as it is wanted. */
static void test_answers(bool known)
{
	static const uint32_t requests[] = { GET_FEATURES, GET_PROTOCOL, GET_QUEUES, GET_CONFIG, GET_WINDOW };
	uint8_t payloads[5][200], payload[256];
	uint32_t sizes[5];

	begin();
	for (uint32_t round = 0; known && round < 3; round++)
		for (uint32_t i = 0; i < 5; i++) {
			sizes[i] = i < 3 ? 8 : 1 + test_below(200);
			for (uint32_t at = 0; at < sizes[i]; at++)
				payloads[i][at] = (uint8_t)test_below(256);
			ask(requests[i], FLAGS, i == 3 ? 100 : 0, 0);
			(void)client_await(&client, CSVN_EVENT_MESSAGE);
			answer(requests[i], payloads[i], sizes[i]);
			client_turn(&client);
			CHECK(got(requests[i], payload, sizeof(payload)) == (int)sizes[i]);
		}
	die();
	heard();
	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = known ? 0 : 1; i < 5; i++) {
			uint32_t size = known ? sizes[i] : i == 3 ? 100 : 8;

			ask(requests[i], FLAGS, i == 3 ? 100 : 0, 0);
			turns(2);
			CHECK(got(requests[i], payload, sizeof(payload)) == (int)size);
			for (uint32_t at = 0; at < size; at++)
				CHECK(payload[at] == (known ? payloads[i][at] : 0));
		}
	nothing_comes();
	end();
}

/* Negotiated or not, before or after: an acknowledgement is sent where it is waited for. */
static void test_acknowledgements(void)
{
	for (uint32_t i = 0; i < 4; i++) {
		bool before = i & 1, after = i & 2;

		begin();
		negotiate(before ? REPLY_ACK : 1);
		die();
		heard();
		ask(SET_BASE, NEED_REPLY, 8, QUEUE);
		ask(SET_PROTOCOL, FLAGS, 8, after ? REPLY_ACK : 1);
		ask(SET_BASE, NEED_REPLY, 8, QUEUE);
		turns(TURNS);
		for (int n = 0; n < before + after; n++)
			comes(SET_BASE, 0);
		asks();
		end();
	}
}

/* A connection that cannot be gone on with ends, and the port with it. */
static void test_ends(void)
{
	for (int what = 0; what < 6; what++) {
		const uint32_t long_one[3] = { SET_CONFIG, FLAGS, 5000 };
		struct client_event e;

		begin();
		switch (what) {
		case 0: /* it had ended before */
			shutdown(front, SHUT_RDWR);
			(void)client_await(&client, CSVN_EVENT_SESSION_END);
			break;
		case 1: /* it ends while nobody looks */
			shutdown(front, SHUT_RDWR);
			break;
		case 2: /* no message is so long */
			send_bytes(long_one, 0, sizeof(long_one));
			break;
		case 3: /* more was asked than is known; that is told the brain */
			for (uint32_t i = 0; i <= ALONE_ASKED; i++) {
				ask(GET_BASE, FLAGS, 8, i);
				turns(1);
				(void)client_find(&client, CSVN_EVENT_MESSAGE, &e);
			}
			e = client_await(&client, CSVN_EVENT_SESSION_END);
			CHECK(e.header.aux == ENOBUFS && strstr((char *)e.bytes, "does not wait for its replies"));
			break;
		case 4: /* its answers are not read */
			die();
			heard();
			CHECK(setsockopt(front, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int)) == 0);
			for (uint32_t i = 0; i < 100000 && !client.port.over; i++) {
				uint32_t message[5] = { GET_BASE, FLAGS, 8, i };

				if (send(front, message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
					break;
				turns(1);
			}
			break;
		default: /* a message is not completed */
			send_bytes(get_base, 0, 7);
			break;
		}
		if (what != 4) {
			die();
			heard();
		}
		for (uint64_t began = client_ms(); !client.port.over; usleep(1000)) {
			turns(1);
			CHECK(client_ms() - began < CLIENT_PATIENCE_MS);
		}
		client_close(&client);
		CHECK(what == 4 || recv(front, &e, 1, MSG_DONTWAIT) <= 0);
		close(front);
	}
}

/* What comes as descriptors is of no use to it, and nobody is kept waiting by it. */
static void test_descriptors(void)
{
	int event = eventfd(0, EFD_CLOEXEC), before;

	begin();
	/* A message that is half read has brought one. */
	before = descriptors();
	front_end_send(front, set_base, 7, event);
	client_turn(&client);
	CHECK(descriptors() == before + 1);
	die();
	heard();
	send_bytes(set_base, 7, sizeof(set_base));
	turns(TURNS);
	/* The brain's end of the socket for files went as well, and the port's is of no use. */
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t at = test_below(sizeof(set_base) - 1);

		send_bytes(set_base, 0, at);
		if (round % 3 == 0)
			client_turn(&client);
		front_end_send(front, (const uint8_t *)set_base + at, 1, event);
		send_bytes(set_base, at + 1, sizeof(set_base));
		turns(3);
		CHECK(descriptors() <= before);
		if (round % 10 == 0)
			asks();
	}
	asks();
	end();
	close(event);
}

/* A front-end that has sent messages, and waits for answers to some. */
struct script {
	int event;
	bool dead;
	uint32_t number; /* of messages */
	uint32_t expected[WAITING][2]; /* request, first word; a ring */
	uint32_t first, waiting;
	uint8_t input[4096], output[8192];
	uint32_t have, size, at; /* in input; in output, of which so much is sent */
	bool brings; /* the message in output brings a descriptor */
};

static void expect(struct script *s, uint32_t request, uint32_t word)
{
	uint32_t at = (s->first + s->waiting++) % WAITING;

	CHECK(s->waiting <= WAITING);
	s->expected[at][0] = request;
	s->expected[at][1] = word;
}

static void put_message(struct script *s, uint32_t request, uint32_t flags, uint32_t size, uint32_t word)
{
	uint32_t header[3] = { request, flags, size };

	memset(s->output, (int)(s->number & 0xff), sizeof(s->output));
	memcpy(s->output, header, sizeof(header));
	memcpy(s->output + sizeof(header), &word, sizeof(word));
	s->size = (uint32_t)sizeof(header) + size;
	s->at = 0;
	s->brings = request == SET_MEM_TABLE;
	if (request == GET_FEATURES)
		expect(s, request, (uint32_t)FEATURES);
	else if (request == GET_BASE)
		expect(s, request, word);
	else if (flags == NEED_REPLY)
		expect(s, request, 0);
}

static void next_message(struct script *s)
{
	uint32_t flags = test_below(2) ? FLAGS : NEED_REPLY;

	switch (test_below(8)) {
	case 0:
		put_message(s, GET_FEATURES, FLAGS, 0, 0);
		break;
	case 1:
	case 2:
		put_message(s, GET_BASE, FLAGS, 8, s->number);
		break;
	case 3: /* the same again and again */
		put_message(s, GET_BASE, FLAGS, 8, 99);
		break;
	case 4:
		put_message(s, SET_NUM, FLAGS, 8, 5);
		break;
	case 5:
		put_message(s, SET_MEM_TABLE, flags, 40, 1);
		break;
	case 6:
		put_message(s, SET_CONFIG, flags, 12 + test_below(4084), s->number);
		break;
	default:
		put_message(s, SET_BASE, flags, 8, 7);
		break;
	}
	s->number++;
}

/* Take what has come: answers to what was asked, in order. */
static void receive(struct script *s)
{
	ssize_t n = recv(front, s->input + s->have, sizeof(s->input) - s->have, MSG_DONTWAIT);
	uint32_t at = 0;

	if (n < 0) {
		CHECK(errno == EAGAIN);
		return;
	}
	CHECK(n > 0);
	s->have += (uint32_t)n;
	for (; s->have - at >= 20; at += 20) {
		const uint32_t *wanted = s->expected[s->first % WAITING];
		uint32_t reply[5];

		memcpy(reply, s->input + at, sizeof(reply));
		CHECK(s->waiting > 0 && reply[1] == FLAGS_REPLY && reply[2] == 8);
		CHECK(reply[0] == wanted[0] && reply[3] == wanted[1]);
		s->first = (s->first + 1) % WAITING;
		s->waiting--;
	}
	s->have -= at;
	memmove(s->input, s->input + at, s->have);
}

/* Until the socket takes another piece: the port reads in this process. */
static void await_room(struct script *s)
{
	struct pollfd room = { .fd = front, .events = POLLOUT };
	uint64_t began = client_ms();

	while (poll(&room, 1, 0) == 0) {
		client_turn(&client);
		receive(s);
		CHECK(client_ms() - began < CLIENT_PATIENCE_MS);
	}
}

/* Send a piece of what is to be sent. */
static void send_piece(struct script *s)
{
	uint32_t left, n;

	if (s->at == s->size) {
		if (s->waiting == WAITING)
			return;
		next_message(s);
	}
	left = s->size - s->at;
	n = test_below(3) ? left : 1 + test_below(left);
	await_room(s);
	front_end_send(front, s->output + s->at, n, s->brings ? s->event : -1);
	s->brings = false;
	s->at += n;
}

/* The brain takes a message, and answers it as it is wanted. */
static void be_brain(void)
{
	struct csvn_event_message m;
	struct client_event e;
	uint32_t word;

	if (!client_find(&client, CSVN_EVENT_MESSAGE, &e))
		return;
	memcpy(&m, e.bytes, sizeof(m));
	memcpy(&word, e.bytes + sizeof(m), sizeof(word));
	for (uint32_t i = 0; i < m.descriptors; i++)
		client_put(&client, CSVN_COMMAND_TOKEN_CLOSE, m.tokens[i], 0, NULL, 0);
	if (m.request == GET_FEATURES)
		answer_word(m.request, FEATURES);
	else if (m.request == GET_BASE)
		answer_word(m.request, word);
	else if (m.flags == NEED_REPLY)
		answer_word(m.request, 0);
}

/* The brain goes at a random moment, with all kinds of messages under way: every request is answered once, in order. */
static void test_scripts(void)
{
	static struct script s;

	for (uint32_t i = 0; i < SCRIPTS; i++) {
		uint32_t pieces = test_below(200), eager = 1 + test_below(4);
		int before = descriptors();

		begin();
		negotiate(REPLY_ACK);
		memset(&s, 0, sizeof(s));
		s.event = eventfd(0, EFD_CLOEXEC);
		for (uint32_t n = 0; n < pieces; n++) {
			send_piece(&s);
			if (test_below(eager))
				client_turn(&client);
			while (test_below(eager))
				be_brain();
			if (test_below(2))
				receive(&s);
		}
		die();
		if (test_below(2))
			send_piece(&s);
		heard();
		for (uint32_t n = 0; n < 100; n++) {
			send_piece(&s);
			if (test_below(eager))
				client_turn(&client);
			receive(&s);
		}
		while (s.at != s.size) {
			send_piece(&s);
			client_turn(&client);
			receive(&s);
		}
		for (int n = 0; n < TURNS; n++) {
			client_turn(&client);
			receive(&s);
		}
		CHECK(s.waiting == 0 && s.have == 0);
		nothing_comes();
		end();
		close(s.event);
		/* But for those that the brain took, and had not closed. */
		CHECK(descriptors() >= before);
		for (struct client_event e; client_find(&client, CSVN_EVENT_MESSAGE, &e);) {
			struct csvn_event_message m;

			memcpy(&m, e.bytes, sizeof(m));
			for (uint32_t k = 0; k < m.descriptors; k++)
				CHECK(close(m.tokens[k]) == 0);
		}
		CHECK(descriptors() == before);
	}
}

static atomic_uint turned;

static void *run(void *unused)
{
	while (!client.port.over) {
		port_turn(&client.port, true);
		atomic_fetch_add(&turned, 1);
	}
	return unused;
}

/* What is left undone of the brain's commands, and what it was not told, is no reason to be busy. */
static void test_rest(void)
{
	for (int what = 0; what < 4; what++) {
		pthread_t thread;
		uint64_t payload;

		begin();
		switch (what) {
		case 0:
			break;
		case 1: /* more than a turn does */
			for (int i = 0; i < 1000; i++)
				client_put(&client, CSVN_COMMAND_NOTHING, 0, 0, NULL, 0);
			break;
		case 2: /* an outcome that nobody waits for any more */
			client_put(&client, CSVN_COMMAND_QUEUE_STOP, 0, 0, NULL, 0);
			break;
		default: /* a cursor that lies */
			client.link.commands.shared->produced += 8;
			client.link.commands.own += 8;
			ask(GET_BASE, FLAGS, 8, 1);
			break;
		}
		die();
		heard();
		if (client.port.over) {
			CHECK(what == 3);
			client_close(&client);
			close(front);
			continue;
		}
		atomic_store(&turned, 0);
		CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
		usleep(300000);
		CHECK(atomic_load(&turned) < 100);
		ask(GET_BASE, FLAGS, 8, 5);
		CHECK(poll(&(struct pollfd){ .fd = front, .events = POLLIN }, 1, (int)CLIENT_PATIENCE_MS) == 1);
		CHECK(got(GET_BASE, &payload, sizeof(payload)) == 8 && payload == 5);
		close(front);
		pthread_join(thread, NULL);
		client_close(&client);
	}
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	test_reading();
	test_long();
	test_answering();
	test_turns();
	test_answers(true);
	test_answers(false);
	test_acknowledgements();
	test_ends();
	test_descriptors();
	test_scripts();
	test_rest();
	return 0;
}
