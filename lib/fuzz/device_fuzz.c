/* SPDX-License-Identifier: MIT */
/*
 * A guest that writes anything to its memory at any time, and a brain that answers, announces, starts and stops, through the port's own turns:
 * from a kick to the event, from the answer to the used ring and the interrupt. No request is told of twice while it is open, announcements are
 * delivered or wait, each once, and no descriptor is left over, or closed twice.
 */
#define _GNU_SOURCE
#include "control.h"
#include "fresh_port.h"
#include "input.h"
#include "port_client.h"

#define BYTES 32768u /* of guest memory, in two regions that are swapped in the file */
#define GUEST 0x40000u
#define USER 0x7f0000000000u
#define SIZE 16u
#define QUEUE_BYTES 1024u /* of each queue's rings, from the beginning on */
#define AVAIL 512u
#define USED 768u
#define BUFFERS (QUEUE_BYTES * CSVN_QUEUES)
#define TICKETS 64u
#define CIRCUITS 8u

static struct client client;
static uint8_t *memory; /* in the guest's order, through a mapping of its own */
static int file, kicks[CSVN_QUEUES], calls[CSVN_QUEUES];
static uint32_t tickets[TICKETS], ticket_count;
static uint16_t available[CSVN_QUEUES]; /* as an honest driver counts */
static uint64_t announced, resets;

static uint8_t *queue_at(uint32_t queue)
{
	return memory + queue * QUEUE_BYTES;
}

static void map_memory(uint32_t how)
{
	struct csvn_region regions[2] = {
		{ .guest = GUEST, .user = USER, .size = BYTES / 2, .offset = BYTES / 2, .token = file },
		{ .guest = GUEST + BYTES / 2, .user = USER + BYTES, .size = BYTES / 2, .offset = 0, .token = file },
	};

	/* Other tables: smaller, elsewhere, one of the two. */
	if (how & 1)
		regions[0].size -= CSVN_PAGE * (1 + (how >> 4));
	if (how & 2)
		regions[1].guest += CSVN_PAGE * (how >> 4);
	if (how & 4)
		regions[0].guest += GUEST;
	(void)client_ask(&client, CSVN_COMMAND_MEMORY, 0, 0, regions, (how & 8 ? 1u : 2u) * (uint32_t)sizeof(regions[0]));
}

static void make_memory(void)
{
	uint8_t *at;

	file = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(file >= 0 && ftruncate(file, BYTES) == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	at = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	for (uint32_t i = 0; i < 2; i++)
		CHECK(mmap(at + i * BYTES / 2, BYTES / 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
			   i ? 0 : BYTES / 2) != MAP_FAILED);
	memory = at;
	map_memory(0);
}

static void start(uint32_t queue, struct input *in)
{
	uint32_t how = input_byte(in);
	struct csvn_queue_setup setup = { .features = (uint64_t)(how & 1) << VIRTIO_F_INDIRECT_DESC |
						      (uint64_t)(how >> 1 & 1) << VIRTIO_F_EVENT_IDX,
					  .index = queue,
					  .size = how >= 0xf0 ? input_u16(in) : SIZE,
					  .desc = USER + queue * QUEUE_BYTES,
					  .avail = USER + queue * QUEUE_BYTES + AVAIL,
					  .used = USER + queue * QUEUE_BYTES + USED,
					  .base = available[queue],
					  .kick = fcntl(kicks[queue], F_DUPFD_CLOEXEC, 0),
					  .call = how & 4 ? -1 : fcntl(calls[queue], F_DUPFD_CLOEXEC, 0) };

	memcpy(&available[queue], queue_at(queue) + AVAIL + 2, 2);
	(void)client_ask(&client, CSVN_COMMAND_QUEUE_START, 0, 0, &setup, sizeof(setup));
	if (queue == CSVN_QUEUE_CONTROL)
		ticket_count = 0;
}

/* A buffer of one to three parts, as a driver offers it, or nearly. */
static void offer(struct input *in)
{
	static const uint32_t lengths[] = { 0, 4, 16, 24, 64, CSVN_RECORD_MAX, 256, 4096 };
	uint32_t queue = input_byte(in), how = input_byte(in), head = how & 15, parts = 1 + (how >> 4 & 1) + (how >> 5 & 1);
	uint8_t *at;

	queue %= CSVN_QUEUES;
	at = queue_at(queue);
	for (uint32_t i = 0; i < parts; i++) {
		uint32_t what = input_byte(in), bytes = lengths[what & 7];
		uint64_t guest = GUEST + BUFFERS + (what >> 3 & 7) * 4096u - (what & 0x40 ? 100 : 0);
		bool write = queue == CSVN_QUEUE_EVENT || queue == CSVN_QUEUE_WAKE || (queue == CSVN_QUEUE_CONTROL && i > 0);
		uint16_t flags = (uint16_t)((i + 1 < parts) | (write != (what >= 0xf0)) << 1 | (what == 0xff) << 2),
			 next = (uint16_t)((head + i + 1) % SIZE);
		uint8_t *desc = at + 16 * ((head + i) % SIZE);

		memcpy(desc, &guest, 8);
		memcpy(desc + 8, &bytes, 4);
		memcpy(desc + 12, &flags, 2);
		memcpy(desc + 14, &next, 2);
	}
	memcpy(at + AVAIL + 4 + 2 * (available[queue] % SIZE), &(uint16_t){ (uint16_t)head }, 2);
	available[queue]++;
	memcpy(at + AVAIL + 2, &available[queue], 2);
	if (how & 0x40)
		CHECK(eventfd_write(kicks[queue], 1) == 0);
}

/* Doorbells of circuits, some of which are there. */
static void fill(struct input *in)
{
	uint32_t ids[16], where = BUFFERS + (input_byte(in) & 7u) * 4096u;

	for (uint32_t i = 0; i < 16; i++)
		ids[i] = input_byte(in) % (2 * CIRCUITS);
	if (where <= BYTES - sizeof(ids))
		memcpy(memory + where, ids, sizeof(ids));
}

static void scribble(struct input *in)
{
	uint32_t where = input_u16(in), value = input_u32(in);

	/* The rings half of the time. */
	where %= where & 0x8000 ? BUFFERS : BYTES;
	memcpy(memory + where / 4 * 4, &value, sizeof(value));
}

static void command(uint32_t kind, int handle, uint32_t aux, const void *bytes, uint32_t count)
{
	client_command(&client, kind, handle, aux, bytes, count);
}

static void brain_hears(void)
{
	struct csvn_event_control c;
	struct client_event e;

	while (client_find(&client, CSVN_EVENT_CONTROL, &e)) {
		memcpy(&c, e.bytes, sizeof(c));
		CHECK(c.room >= RESPONSE_MIN);
		CHECK(e.header.length - sizeof(e.header) - sizeof(c) == (c.size < CSVN_RECORD_MAX ? c.size : CSVN_RECORD_MAX));
		/* One that is open is not told of again. */
		for (uint32_t i = 0; i < ticket_count; i++)
			CHECK(tickets[i] != e.header.aux);
		if (ticket_count < TICKETS)
			tickets[ticket_count++] = e.header.aux;
	}
	while (client_find(&client, CSVN_EVENT_DEVICE_FAULT, &e))
		CHECK(e.header.aux >> 16 < CSVN_QUEUES && (e.header.aux & 0xffff) != 0);
}

static void answer(struct input *in)
{
	uint8_t bytes[CSVN_RECORD_MAX];
	uint32_t which = input_byte(in), count = 24 + input_byte(in) % (CSVN_RECORD_MAX - 23u), ticket;

	memset(bytes, (int)which, sizeof(bytes));
	if (which >= ticket_count) {
		/* One that is open no more, or never was. */
		command(CSVN_COMMAND_REPLY, 0, which << 16 | (input_byte(in) & 0x1f), bytes, count);
		return;
	}
	ticket = tickets[which];
	tickets[which] = tickets[--ticket_count];
	command(CSVN_COMMAND_REPLY, 0, ticket, bytes, count);
	/* Once. */
	command(CSVN_COMMAND_REPLY, 0, ticket, bytes, count);
}

static void announces(struct input *in)
{
	struct csvn_reset bytes = { .header = { .type = input_byte(in) & 1 ? CSVN_EV_RESET : CSVN_EV_INCOMING } };

	if (bytes.header.type == CSVN_EV_RESET)
		resets++;
	else
		announced++;
	command(CSVN_COMMAND_ANNOUNCE, 0, 0, &bytes, sizeof(bytes));
}

static void route(struct input *in)
{
	uint32_t what = input_byte(in);
	struct csvn_route r = { .id = what % CIRCUITS, .board = -1, .mark = input_byte(in) % (CIRCUITS + 2) };

	if (what & 0x80)
		command(CSVN_COMMAND_UNROUTE, 0, what % CIRCUITS, NULL, 0);
	else
		command(CSVN_COMMAND_ROUTE, 0, 0, &r, sizeof(r));
}

static void stop(struct input *in)
{
	uint32_t what = input_byte(in), queue = what % (CSVN_QUEUES + 1);

	if (what & 0x80) {
		(void)client_ask(&client, CSVN_COMMAND_QUEUE_CALL, (int)queue,
				 what & 0x40 ? (uint32_t)-1 : (uint32_t)fcntl(calls[0], F_DUPFD_CLOEXEC, 0), NULL, 0);
		return;
	}
	if (queue == CSVN_QUEUE_CONTROL) {
		client_turn(&client);
		brain_hears();
		ticket_count = 0;
	}
	(void)client_ask(&client, CSVN_COMMAND_QUEUE_STOP, (int)queue, 0, NULL, 0);
}

static void check(void)
{
	const struct device *d = &client.port.device;

	CHECK(d->delivered <= announced && d->delivered_resets <= resets);
	CHECK(d->announcement_count == announced + resets - d->delivered - d->delivered_resets);
	CHECK(d->routes.count <= CIRCUITS);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input in = { bytes, bytes + count };
	int before = fresh_port(&client);

	ticket_count = 0;
	announced = resets = 0;
	make_memory();
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		calls[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		available[i] = 0;
		start(i, &in);
	}
	while (in.at < in.end) {
		switch (input_byte(&in) % 16) {
		case 0:
		case 1:
		case 2:
		case 3:
			offer(&in);
			break;
		case 4:
			port_turn(&client.port, false);
			break;
		case 5:
		case 6:
			client_turn(&client);
			brain_hears();
			break;
		case 7:
			scribble(&in);
			break;
		case 8:
			fill(&in);
			break;
		case 9:
			answer(&in);
			break;
		case 10:
			announces(&in);
			break;
		case 11:
			route(&in);
			break;
		case 12:
			stop(&in);
			break;
		case 13:
			map_memory(input_byte(&in));
			break;
		case 14:
			start(input_byte(&in) % CSVN_QUEUES, &in);
			break;
		case 15:
			CHECK(eventfd_write(kicks[input_byte(&in) % CSVN_QUEUES], 1) == 0);
			break;
		}
		brain_hears();
		check();
	}
	client_close(&client);
	munmap(memory, BYTES);
	close(file);
	for (uint32_t i = 0; i < CSVN_QUEUES; i++) {
		close(kicks[i]);
		close(calls[i]);
	}
	descriptors_check(before);
	return 0;
}
