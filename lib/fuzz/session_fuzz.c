/* SPDX-License-Identifier: MIT */
/*
 * A front-end that sends any bytes, cut anywhere, with any descriptors, to a port whose brain does at any time what a brain may do. Whole
 * messages arrive as they were sent, in their order, each with its descriptors, up to the first that is wrong; and whatever happens, no
 * descriptor is left over, or closed twice.
 */
#define _GNU_SOURCE
#include "fuzz_descriptors.h"
#include "input.h"
#include "port_client.h"

#define SENT_MAX (1u << 20)
#define LOADS_MAX 4096u /* times that descriptors went along */
#define LOAD_MAX 10u
#define TOKENS_MAX 64u
#define MEMORY_BYTES 65536u

/* What can be sent along. */
enum thing { SEALED, UNSEALED, EVENTFD, CHANNEL, PIPE, DATAGRAMS, THINGS };

struct load {
	uint32_t at; /* of all bytes */
	uint32_t count;
	bool useful[LOAD_MAX];
};

static struct client client;
static uint8_t sent[SENT_MAX];
static uint32_t sent_count;
static struct load loads[LOADS_MAX];
static uint32_t load_count;
static int things[THINGS], front, channel, pipe_end; /* our ends */
static int tokens[TOKENS_MAX];
static uint32_t token_count;
static uint32_t told; /* bytes of the messages that were told of */
static uint32_t next_load; /* the first behind them */
static int end_reason; /* of the session; -1: it has not ended */
static bool replied; /* the brain has sent something, and may have filled the socket */
static bool alone;

static void open_things(void)
{
	int pair[2];

	things[SEALED] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	things[UNSEALED] = memfd_create("unsealed", MFD_CLOEXEC);
	CHECK(ftruncate(things[SEALED], MEMORY_BYTES) == 0 && ftruncate(things[UNSEALED], MEMORY_BYTES) == 0);
	CHECK(fcntl(things[SEALED], F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	things[EVENTFD] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	channel = pair[0];
	things[CHANNEL] = pair[1];
	CHECK(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
	things[PIPE] = pair[0];
	pipe_end = pair[1];
	things[DATAGRAMS] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void close_things(void)
{
	for (int i = 0; i < THINGS; i++)
		close(things[i]);
	close(channel);
	close(pipe_end);
}

/* Send bytes, with what the script says along. How many of them went out. */
static uint32_t send_to(int fd, const uint8_t *bytes, uint32_t count, struct input *in, struct load *load)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * LOAD_MAX)];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, count };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint32_t how = input_byte(in);
	ssize_t n;

	load->count = how < 128 ? 0 : how < 224 ? how % 3 : how % (LOAD_MAX + 1);
	if (load->count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * load->count);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * load->count);
		for (uint32_t i = 0; i < load->count; i++) {
			uint32_t kind = input_byte(in);
			enum thing thing = (enum thing)(kind < 200 ? kind % PIPE : kind % THINGS);

			load->useful[i] = thing < PIPE;
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &things[thing], sizeof(int));
		}
	}
	n = count && fd >= 0 ? sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
	return n < 0 ? 0 : (uint32_t)n;
}

static void front_send(const uint8_t *bytes, uint32_t count, struct input *in)
{
	struct load load = { .at = sent_count };
	uint32_t n;

	if (count > SENT_MAX - sent_count || load_count == LOADS_MAX)
		return;
	n = send_to(front, bytes, count, in, &load);
	if (n && load.count)
		loads[load_count++] = load;
	memcpy(sent + sent_count, bytes, n);
	sent_count += n;
}

/* A message, or the beginning of one. */
static uint32_t make_message(struct input *in, uint8_t *bytes)
{
	static const uint32_t sizes[] = { 0, 4, 8, 12, 20, 40, 264, 4096 };
	uint32_t what = input_byte(in), size = sizes[what & 7], header[3] = { what >> 3, 1, size };

	header[1] |= (uint32_t)(input_byte(in) & 0xf) << 2;
	memset(bytes + STREAM_HEADER, (int)what, size);
	if (size >= 8) {
		uint64_t first = input_byte(in);

		memcpy(bytes + STREAM_HEADER, &first, sizeof(first));
	}
	memcpy(bytes, header, sizeof(header));
	if (what == 0xff)
		return input_byte(in) % (STREAM_HEADER + size);
	return STREAM_HEADER + size;
}

/* Of the message that begins at `told`: its bytes, 0: it is not there as a whole, or -errno of the session's end; and what came along. */
static int next_message(uint32_t *descriptors)
{
	uint32_t left = sent_count - told, header[3], whole = STREAM_HEADER, at = next_load;

	*descriptors = 0;
	memset(header, 0, sizeof(header));
	memcpy(header, sent + told, left < STREAM_HEADER ? left : STREAM_HEADER);
	if (left >= STREAM_HEADER && header[2] <= CSVN_MESSAGE_MAX)
		whole += header[2];
	/* A descriptor comes with the first byte that it was sent with; the size is looked at when all of the header is there. */
	for (; at < load_count && loads[at].at < told + whole; at++) {
		if (loads[at].at >= told + STREAM_HEADER && header[2] > CSVN_MESSAGE_MAX)
			break;
		for (uint32_t i = 0; i < loads[at].count; i++) {
			if (*descriptors == CSVN_MESSAGE_FDS)
				return -E2BIG;
			if (!loads[at].useful[i])
				return -EBADF;
			++*descriptors;
		}
	}
	if (left < STREAM_HEADER)
		return 0;
	if (header[2] > CSVN_MESSAGE_MAX)
		return -EMSGSIZE;
	return left < whole ? 0 : (int)whole;
}

static void check_message(const struct csvn_event_message *m, const uint8_t *payload, uint32_t count)
{
	uint32_t descriptors, header[3] = { m->request, m->flags, m->size };
	int whole = next_message(&descriptors);

	CHECK(whole == (int)(STREAM_HEADER + m->size) && count == m->size && m->descriptors == descriptors);
	CHECK(memcmp(sent + told, header, sizeof(header)) == 0);
	CHECK(memcmp(sent + told + STREAM_HEADER, payload, m->size) == 0);
	told += (uint32_t)whole;
	while (next_load < load_count && loads[next_load].at < told)
		next_load++;
}

static void check_end(int reason)
{
	uint32_t descriptors;
	int rc = next_message(&descriptors);

	CHECK(end_reason < 0);
	end_reason = reason;
	if (reason == EMSGSIZE || reason == E2BIG || reason == EBADF)
		CHECK(rc == -reason);
	else
		CHECK(reason == 0 || reason == ECONNRESET || (replied && (reason == EAGAIN || reason == EPIPE)));
}

static void take_token(int fd)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	if (token_count < TOKENS_MAX)
		tokens[token_count++] = fd;
	else
		close(fd);
}

/* One event, if there is any. */
static bool brain_takes(void)
{
	static uint8_t bytes[LINK_RECORD_MAX];
	int length = queue_next(&client.link.events, bytes, sizeof(bytes));
	const uint8_t *body = bytes + sizeof(struct csvn_record);
	struct csvn_event_message m;
	struct csvn_record r;

	if (length == 0)
		return false;
	CHECK(length >= (int)sizeof(r));
	memcpy(&r, bytes, sizeof(r));
	if (r.kind == CSVN_EVENT_SESSION_END)
		check_end((int)r.aux);
	if (r.kind != CSVN_EVENT_MESSAGE && r.kind != CSVN_EVENT_BACKEND_MESSAGE)
		return true;
	CHECK(length >= (int)(sizeof(r) + sizeof(m)));
	memcpy(&m, body, sizeof(m));
	CHECK(m.descriptors <= CSVN_MESSAGE_FDS && m.size == (uint32_t)length - sizeof(r) - sizeof(m));
	if (r.kind == CSVN_EVENT_MESSAGE)
		check_message(&m, body + sizeof(m), (uint32_t)length - (uint32_t)(sizeof(r) + sizeof(m)));
	for (uint32_t i = 0; i < m.descriptors; i++)
		take_token(m.tokens[i]);
	return true;
}

/* A token that is the brain's no more. */
static int give_token(struct input *in)
{
	uint32_t at = input_byte(in);
	int fd;

	if (at >= token_count)
		return -1;
	fd = tokens[at];
	tokens[at] = tokens[--token_count];
	return fd;
}

/* The same, of a socket: what the brain attaches, mostly. */
static int give_channel(void)
{
	for (uint32_t i = 0; i < token_count; i++) {
		int fd = tokens[i], type;
		socklen_t bytes = sizeof(type);

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0)
			continue;
		tokens[i] = tokens[--token_count];
		return fd;
	}
	return -1;
}

static void command(uint32_t kind, int handle, uint32_t aux, const void *bytes, uint32_t count)
{
	if (alone)
		return;
	client_put(&client, kind, handle, aux, bytes, count);
	port_turn(&client.port, false);
}

static void brain_maps(struct input *in)
{
	struct csvn_region regions[3];
	uint32_t count = input_byte(in) % 4u;

	memset(regions, 0, sizeof(regions));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t which = input_byte(in);

		regions[i] = (struct csvn_region){ .guest = (uint64_t)input_byte(in) << 12,
						   .size = (uint64_t)(input_byte(in) & 0x1f) << 12,
						   .user = (uint64_t)input_byte(in) << 12,
						   .offset = (uint64_t)(input_byte(in) & 0xf) << 10,
						   .token = which < token_count ? tokens[which] : -1 };
		if (which == 0xff)
			regions[i].size = input_u64(in);
	}
	command(CSVN_COMMAND_MEMORY, 0, 0, regions, count * (uint32_t)sizeof(regions[0]));
}

static void brain_starts(struct input *in)
{
	struct csvn_queue_setup setup = { .index = input_byte(in) % (CSVN_QUEUES + 1u), .size = 16 };

	setup.desc = (uint64_t)input_byte(in) << 12;
	setup.avail = setup.desc + 1024;
	setup.used = setup.desc + 2048;
	setup.kick = alone ? -1 : give_token(in);
	setup.call = alone ? -1 : give_token(in);
	command(CSVN_COMMAND_QUEUE_START, 0, 0, &setup, sizeof(setup));
}

static void brain_does(struct input *in)
{
	static uint8_t bytes[STREAM_HEADER + CSVN_MESSAGE_MAX];
	uint32_t count, what = input_byte(in);
	int token;

	if (alone)
		return;
	switch (what % 8) {
	case 0:
	case 1:
		count = make_message(in, bytes);
		replied = true;
		command(what % 8 ? CSVN_COMMAND_SEND : CSVN_COMMAND_BACKEND_SEND, -1, 0, bytes, count);
		break;
	case 2:
	case 3:
		token = what % 2 ? give_token(in) : give_channel();
		if (token >= 0)
			command(CSVN_COMMAND_BACKEND_ATTACH, token, 0, NULL, 0);
		break;
	case 4:
		brain_maps(in);
		break;
	case 5:
		brain_starts(in);
		break;
	case 6:
		token = give_token(in);
		if (token >= 0)
			command(CSVN_COMMAND_TOKEN_CLOSE, token, 0, NULL, 0);
		break;
	case 7:
		if (what & 0x80)
			command(CSVN_COMMAND_QUEUE_STOP, (int)(input_byte(in) % 5u), 0, NULL, 0);
		else
			command(CSVN_COMMAND_QUEUE_CALL, (int)(input_byte(in) % 5u), (uint32_t)give_token(in), NULL, 0);
		break;
	}
}

static void front_ends(struct input *in)
{
	uint32_t how = input_byte(in);

	if (how < 16 && front >= 0) {
		close(front);
		front = -1;
	} else if (how < 32 && front >= 0) {
		(void)shutdown(front, SHUT_WR);
	} else if (how < 64 && !alone) {
		/* The brain is gone. */
		close(client.link.files);
		client.link.files = -1;
		alone = true;
	}
}

/* What is left of the script is nothing. The front-end goes, and the port hears of it. */
static void finish(void)
{
	uint32_t descriptors;

	if (front >= 0)
		close(front);
	front = -1;
	/* Each turn tells what there is room for, and what was told is taken, with its tokens. */
	for (uint32_t i = 0; i < 10000 && (i == 0 || (end_reason < 0 && !(alone && client.port.over))); i++) {
		while (brain_takes())
			;
		port_turn(&client.port, false);
		while (brain_takes())
			;
	}
	CHECK(end_reason >= 0 || alone);
	/* A reply to somebody who has gone ends it before what was sent is read. */
	if (end_reason == 0 && !replied)
		CHECK(next_message(&descriptors) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	static uint8_t message[STREAM_HEADER + CSVN_MESSAGE_MAX];
	static bool warm;
	struct load unused;
	int pair[2], before;
	uint32_t n;

	sent_count = load_count = token_count = told = next_load = 0;
	end_reason = -1;
	replied = alone = false;
	/* The interrupter's is there from the first port on. */
	if (!warm) {
		client_open(&client, -1);
		client_close(&client);
		warm = true;
	}
	before = descriptors_count();
	open_things();
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	front = pair[0];
	client_open(&client, pair[1]);
	while (in.at < in.end) {
		switch (input_byte(&in) % 16) {
		case 0:
		case 1:
		case 2:
		case 3:
			n = make_message(&in, message);
			front_send(message, n, &in);
			break;
		case 4:
			n = input_byte(&in) % 16u;
			for (uint32_t i = 0; i < n; i++)
				message[i] = input_byte(&in);
			front_send(message, n, &in);
			break;
		case 5:
		case 6:
			port_turn(&client.port, false);
			break;
		case 7:
		case 8:
			for (n = input_byte(&in) % 8u; n && brain_takes(); n--)
				;
			break;
		case 9:
		case 10:
		case 11:
			brain_does(&in);
			break;
		case 12:
		case 13:
			n = make_message(&in, message);
			(void)send_to(channel, message, n, &in, &unused);
			break;
		case 14:
			while (front >= 0 && recv(front, message, sizeof(message), MSG_DONTWAIT) > 0)
				;
			break;
		case 15:
			front_ends(&in);
			break;
		}
	}
	finish();
	client_close(&client);
	while (token_count)
		close(tokens[--token_count]);
	close_things();
	descriptors_check(before);
	return 0;
}
