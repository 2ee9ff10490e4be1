/* SPDX-License-Identifier: MIT */
/*
 * Brain and port on their link, while the fuzzer writes to what they share, as the one or the other would that lies: both come back from each
 * call, within their memory; the brain gets whole records or is told that the port lies, and the port goes on, or ends. As long as nobody has
 * written there, all commands are done, all events come, and whoever sleeps is rung.
 *
 * What a brain may command is not the port's to doubt. So what is written to the ring of commands makes none that names a descriptor.
 */
#define _GNU_SOURCE
#include "fresh_port.h"
#include "input.h"
#include "port_client.h"

static struct client client;
static bool honest; /* so far */
static bool parked;
static uint64_t done; /* as the brain saw it last */
static uint32_t expected, heard; /* results */

static void command(struct input *in)
{
	static const uint8_t body[LINK_RECORD_MAX];
	uint32_t how = input_byte(in), count = how & 1 ? 0 : input_u16(in) % (LINK_RECORD_MAX - 16);
	/* Answered at once: there is no such queue. No word of it is a kind of command that names a descriptor. */
	struct csvn_record r = { .kind = how & 2 ? CSVN_COMMAND_NOTHING : CSVN_COMMAND_QUEUE_STOP, .handle = 99, .aux = 0x10000 | how };
	struct queue_part parts[2] = { { &r.kind, sizeof(r) - QUEUE_HEADER }, { body, count } };
	int rc = queue_put(&client.link.commands, parts, 2);

	CHECK(rc == 0 || rc == -EAGAIN || (!honest && rc == -EPROTO));
	if (rc < 0)
		return;
	client.given++;
	expected += r.kind == CSVN_COMMAND_QUEUE_STOP;
	if (queue_rings(&client.link.commands))
		link_wake(&client.link, &client.port.interrupter);
}

/* So many at once that there may be no room for what the port has to say. */
static void flood(struct input *in)
{
	static const uint8_t short_one[] = { 1 };
	uint32_t count = 16u << input_byte(in) % 9u;

	for (uint32_t i = 0; i < count && !client.port.over; i++) {
		struct input one = { short_one, short_one + sizeof(short_one) };

		command(&one);
		if (i % 128 == 127)
			port_turn(&client.port, false);
	}
}

/* As csvn_port_take(). */
static void take(struct input *in)
{
	uint32_t room = 8 + input_u16(in) % (2 * LINK_RECORD_MAX), length;
	uint8_t *buffer = malloc(room);
	struct csvn_progress progress;
	int rc;

	CHECK(buffer);
	link_progress(&client.link, &progress);
	CHECK(!honest || (progress.done >= done && progress.done <= client.given));
	done = progress.done;
	rc = queue_take(&client.link.events, buffer, room);
	CHECK(rc == 0 || rc == -EMSGSIZE || (!honest && rc == -EPROTO) || (rc > 0 && (uint32_t)rc <= room));
	for (int at = 0; at < rc; at += (int)queue_record(length - QUEUE_HEADER)) {
		struct csvn_record r;

		memcpy(&length, buffer + at, sizeof(length));
		CHECK(length >= QUEUE_HEADER && length <= LINK_EVENT_BYTES / 2 && at + (int)length <= rc);
		if (!honest)
			continue;
		CHECK(length == sizeof(r));
		memcpy(&r, buffer + at, sizeof(r));
		CHECK(r.kind == CSVN_EVENT_RESULT && (int)r.aux == -EINVAL);
		heard++;
	}
	if (rc > 0 && link_is_stalled(&client.link))
		link_wake(&client.link, &client.port.interrupter);
	free(buffer);
}

static bool was_rung(void)
{
	eventfd_t count;

	return eventfd_read(client.bell, &count) == 0;
}

static void park(struct input *in)
{
	uint64_t wanted = client.given + input_byte(in) % 4u;

	if (input_byte(in) & 1) {
		link_want(&client.link, wanted);
		return;
	}
	(void)was_rung();
	parked = link_park(&client.link, wanted);
}

/* A turn, after which whoever is parked is rung if there is something. */
static void turn(void)
{
	uint32_t before = heard + (client.link.events.shared->produced - client.link.events.own);

	port_turn(&client.port, false);
	if (honest && parked && before != heard + (client.link.events.shared->produced - client.link.events.own)) {
		CHECK(was_rung());
		parked = false;
	}
}

static void scribble(struct input *in)
{
	static const uint32_t words[] = { 0, 12, 16, 24, CSVN_COMMAND_NOTHING, LINK_RECORD_MAX, 131072, 1000000, UINT32_MAX - 15 };
	struct queue *q = input_byte(in) & 1 ? &client.port.link.commands : &client.port.link.events;
	uint32_t what = input_byte(in), value = input_u32(in);

	honest = false;
	switch (what % 8) {
	case 0:
		q->shared->produced += (uint32_t)(int8_t)value * QUEUE_ALIGN;
		break;
	case 1:
		q->shared->consumed += (uint32_t)(int8_t)value * QUEUE_ALIGN;
		break;
	case 2:
		q->shared->produced = value;
		break;
	case 3:
		q->shared->consumed = value;
		break;
	case 4:
		q->shared->asleep = value;
		break;
	case 5: {
		/* Near where it is read next. */
		uint32_t at = (q->shared->consumed + value % 256 / 4 * 4) & (q->size - 1);

		memcpy(q->ring + at, &words[(value >> 8) % (sizeof(words) / sizeof(words[0]))], 4);
		break;
	}
	case 6:
		client.link.shared->wanted = value;
		client.link.shared->stalled = value >> 8;
		break;
	case 7:
		client.link.shared->progress.done = value;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	int before = fresh_port(&client);

	honest = true;
	parked = false;
	done = 0;
	expected = heard = 0;
	while (in.at < in.end && !client.port.over) {
		switch (input_byte(&in) % 8) {
		case 0:
		case 1:
			command(&in);
			break;
		case 2:
			flood(&in);
			break;
		case 3:
		case 4:
			turn();
			break;
		case 5:
			take(&in);
			break;
		case 6:
			park(&in);
			break;
		case 7:
			if (input_byte(&in) < 64)
				scribble(&in);
			break;
		}
	}
	if (honest) {
		uint8_t none[32] = { 0xff, 0xff };
		struct input all = { none, none + sizeof(none) };

		for (int i = 0; i < 100000 && (client.port.done < client.given || heard < expected); i++) {
			port_turn(&client.port, false);
			all.at = none;
			take(&all);
		}
		CHECK(!client.port.over && client.port.done == client.given && heard == expected);
	}
	client_close(&client);
	descriptors_check(before);
	return 0;
}
