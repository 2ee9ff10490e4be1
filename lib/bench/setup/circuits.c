/* SPDX-License-Identifier: MIT */
/*
 * Drivers of csvn's device that connect, send a byte and close, and that accept, read and close. One thread looks after all of them: it takes what the
 * devices returned, and sleeps on their interrupts when there is nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "csvn/records.h"
#include "csvn/ring.h"
#include "setup.h"

#define SLOTS 120u /* requests of one VM under way: two descriptors each */
#define SLOT_BYTES (2u * CSVN_RECORD_MAX)
#define CIRCUITS 65536u
#define ARENAS 64u
#define WAIT_MS 20000

enum { CONTROL, EVENT, DOORBELL, WAKE };

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

struct used {
	uint32_t head, bytes;
};

/* A VM's driver. */
struct driver {
	struct setup_vm *vm;
	struct driver *peer;
	uint32_t free_requests[SLOTS], free_request_count;
	uint32_t free_bells[SLOTS], free_bell_count;
	uint64_t arenas[ARENAS]; /* offset in the window, plus 1 */
	struct csvn_arena_event unseen[ARENAS]; /* that the window does not show yet */
	uint32_t unseen_count;
	struct csvn_end *ends; /* by place */
	uint32_t *unread; /* circuits that wait for their byte, by the server */
	uint32_t unread_count, credit;
	uint32_t closing; /* CLOSEs without an answer */
	uint16_t local_port;
	uint32_t connecting;
	bool kicked[SETUP_QUEUES];
};

struct setup_run {
	struct driver *drivers;
	uint32_t count;
	struct pollfd *polls;
	const struct setup_job *job;
	uint32_t begun, served;
	int error;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint8_t *at(struct driver *d, uint64_t guest)
{
	return (uint8_t *)(uintptr_t)(d->vm->memory + guest);
}

static uint16_t *word(struct driver *d, uint32_t offset)
{
	return (uint16_t *)(void *)at(d, offset);
}

static struct desc *descriptor(struct driver *d, uint32_t queue, uint32_t index)
{
	return (struct desc *)(void *)at(d, d->vm->queues[queue].desc) + index;
}

/* Make a chain available; the device is kicked later, for all of them at once. */
static void offer(struct driver *d, uint32_t queue, uint32_t head)
{
	struct setup_queue *q = &d->vm->queues[queue];

	*word(d, q->avail + 4 + 2 * (q->available % q->size)) = (uint16_t)head;
	q->available = (q->available + 1) & 0xffff;
	__atomic_store_n(word(d, q->avail + 2), (uint16_t)q->available, __ATOMIC_RELEASE);
	d->kicked[queue] = true;
}

static void kick_all(struct driver *d)
{
	for (uint32_t i = 0; i < SETUP_QUEUES; i++) {
		if (d->kicked[i])
			eventfd_write(d->vm->queues[i].kick, 1);
		d->kicked[i] = false;
	}
}

/* The next chain that the device gave back. */
static bool take(struct driver *d, uint32_t queue, struct used *out)
{
	struct setup_queue *q = &d->vm->queues[queue];

	if ((uint16_t)q->seen == __atomic_load_n(word(d, q->used + 2), __ATOMIC_ACQUIRE))
		return false;
	memcpy(out, at(d, q->used + 4 + 8 * (q->seen % q->size)), sizeof(*out));
	q->seen = (q->seen + 1) & 0xffff;
	return true;
}

/* Ask for an interrupt at the next one; true when there is one already. */
static bool arm(struct driver *d, uint32_t queue)
{
	struct setup_queue *q = &d->vm->queues[queue];

	*word(d, q->avail + 4 + 2 * q->size) = (uint16_t)q->seen;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (uint16_t)q->seen != __atomic_load_n(word(d, q->used + 2), __ATOMIC_ACQUIRE);
}

static bool can_request(struct driver *d, uint32_t count)
{
	return d->free_request_count >= count;
}

/* A request: the token says which slot it has. */
static void request(struct driver *d, uint16_t type, void *record, uint32_t bytes)
{
	uint32_t slot = d->free_requests[--d->free_request_count], guest = d->vm->buffers + slot * SLOT_BYTES;
	struct csvn_header *header = record;

	*header = (struct csvn_header){ .type = type, .version = CSVN_VERSION, .length = bytes, .token = slot };
	memcpy(at(d, guest), record, bytes);
	*descriptor(d, CONTROL, 2 * slot) = (struct desc){ guest, bytes, 1, (uint16_t)(2 * slot + 1) };
	*descriptor(d, CONTROL, 2 * slot + 1) = (struct desc){ guest + CSVN_RECORD_MAX, CSVN_RECORD_MAX, 2, 0 };
	offer(d, CONTROL, 2 * slot);
}

static void ring_bell(struct driver *d, uint32_t circuit)
{
	uint32_t slot = d->free_bells[--d->free_bell_count], guest = d->vm->buffers + (SLOTS + slot) * SLOT_BYTES;

	memcpy(at(d, guest), &circuit, sizeof(circuit));
	*descriptor(d, DOORBELL, slot) = (struct desc){ guest, sizeof(circuit), 0, 0 };
	offer(d, DOORBELL, slot);
}

/* An id's lower bits are its place, the upper ones say how often that was used. */
static struct csvn_end *end_of(struct driver *d, uint32_t id)
{
	return &d->ends[id % CIRCUITS];
}

static void open_end(struct driver *d, uint32_t id, const struct csvn_extents *x)
{
	uint8_t *base = (uint8_t *)(uintptr_t)(d->vm->window + d->arenas[x->arena % ARENAS] - 1);

	csvn_end_init(end_of(d, id), (void *)(base + x->own_control), (void *)(base + x->peer_control), base + x->tx_ring,
		      base + x->rx_ring, x->ring_size);
}

static void close_end(struct driver *d, uint32_t id)
{
	struct csvn_end *e = end_of(d, id);
	struct csvn_close record = { .circuit = id, .sent = e->tail, .received = e->head };

	csvn_set_state(e, CSVN_STATE_FIN | CSVN_STATE_CLOSED);
	d->closing++;
	request(d, CSVN_REQ_CLOSE, &record, sizeof(record));
}

static void answered(struct setup_run *r, struct driver *d, const struct csvn_connect_response *in)
{
	uint32_t room = 0;

	d->connecting--;
	if (in->response.error) {
		r->error = -(int)in->response.error;
		return;
	}
	open_end(d, in->circuit, &in->extents);
	if (csvn_tx_room(end_of(d, in->circuit), 1, &room) < 0 || !room) {
		r->error = -EPROTO;
		return;
	}
	end_of(d, in->circuit)->tx[0] = 'x';
	csvn_tx_publish(end_of(d, in->circuit), 1);
	if (csvn_wants_rx(end_of(d, in->circuit)) && d->free_bell_count)
		ring_bell(d, in->circuit);
	if (!r->job->keep)
		close_end(d, in->circuit);
}

static void arena_answer(struct driver *d, uint16_t type, uint32_t arena)
{
	struct csvn_arena_request record = { .arena = arena };

	request(d, type, &record, sizeof(record));
}

static void event(struct driver *d, const uint8_t *bytes)
{
	const struct csvn_header *header = (const void *)bytes;
	const struct csvn_incoming *incoming = (const void *)bytes;
	const struct csvn_arena_event *arena = (const void *)bytes;

	switch (header->type) {
	case CSVN_EV_INCOMING:
		open_end(d, incoming->circuit, &incoming->extents);
		d->unread[d->unread_count++] = incoming->circuit;
		d->credit++;
		break;
	case CSVN_EV_ARENA_PREPARE:
		arena_answer(d, CSVN_REQ_ARENA_PREPARED, arena->arena);
		break;
	case CSVN_EV_ARENA_MAPPED:
		d->arenas[arena->arena % ARENAS] = arena->offset + 1;
		d->unseen[d->unseen_count++ % ARENAS] = *arena;
		break;
	case CSVN_EV_ARENA_RETIRE:
		arena_answer(d, CSVN_REQ_ARENA_RETIRED, arena->arena);
		break;
	default:
		break;
	}
}

/* QEMU's answer to a mapping comes before the mapping: an arena is visible once its nonce is. */
static bool look(struct driver *d)
{
	uint32_t kept = 0, count = d->unseen_count;

	for (uint32_t i = 0; i < count; i++) {
		struct csvn_arena_event *a = &d->unseen[i];
		const volatile struct csvn_arena_header *header = (void *)(uintptr_t)(d->vm->window + a->offset);

		if (header->magic == CSVN_ARENA_MAGIC && header->nonce == a->nonce && can_request(d, 2))
			arena_answer(d, CSVN_REQ_ARENA_VISIBLE, a->arena);
		else
			d->unseen[kept++] = *a;
	}
	d->unseen_count = kept;
	return kept != count;
}

/* Take what the device gave back; true if it was anything. */
static bool harvest(struct setup_run *r, struct driver *d)
{
	struct used u;
	bool any = look(d);

	while (take(d, CONTROL, &u)) {
		uint32_t slot = u.head / 2;
		const struct csvn_connect_response *in =
			(const void *)at(d, d->vm->buffers + slot * SLOT_BYTES + CSVN_RECORD_MAX);
		struct csvn_connect_response copy;

		memcpy(&copy, in, sizeof(copy));
		d->free_requests[d->free_request_count++] = slot;
		any = true;
		if ((copy.response.header.type & 0x7fff) == CSVN_REQ_CONNECT)
			answered(r, d, &copy);
		else if ((copy.response.header.type & 0x7fff) == CSVN_REQ_CLOSE)
			d->closing--;
	}
	/* Every event may want an answer, and every circuit a CLOSE. */
	while (can_request(d, 8) && take(d, EVENT, &u)) {
		event(d, at(d, descriptor(d, EVENT, u.head)->guest));
		offer(d, EVENT, u.head);
		any = true;
	}
	while (take(d, DOORBELL, &u)) {
		d->free_bells[d->free_bell_count++] = u.head;
		any = true;
	}
	while (take(d, WAKE, &u)) {
		offer(d, WAKE, u.head);
		any = true;
	}
	return any;
}

/* The server: bytes that have come are read, and their circuits closed. */
static bool serve(struct setup_run *r, struct driver *d)
{
	uint32_t kept = 0, ready = 0;
	bool any = false;

	for (uint32_t i = 0; i < d->unread_count; i++) {
		uint32_t id = d->unread[i];
		struct csvn_end *e = end_of(d, id);

		if (csvn_rx_ready(e, 1, &ready) < 0)
			r->error = -EPROTO;
		if (!ready || !can_request(d, 4)) {
			d->unread[kept++] = id;
			continue;
		}
		if (e->rx[0] != 'x')
			r->error = -EBADMSG;
		csvn_rx_release(e, 1);
		r->served++;
		any = true;
		if (!r->job->keep)
			close_end(d, id);
	}
	d->unread_count = kept;
	if (d->credit && can_request(d, 2)) {
		struct csvn_credit record = { .listener = r->job->port, .count = d->credit };

		d->credit = 0;
		request(d, CSVN_REQ_CREDIT, &record, sizeof(record));
		any = true;
	}
	return any;
}

static void connect_one(struct setup_run *r, struct driver *d)
{
	struct csvn_connect record = { .protocol = CSVN_PROTOCOL_STREAM,
				       .local = { .family = 4 },
				       .remote = { .family = 4, .port = (uint16_t)r->job->port } };

	d->local_port = d->local_port < 60000 ? (uint16_t)(d->local_port + 1) : 1024;
	record.local.port = d->local_port;
	memcpy(record.remote.ip, &d->peer->vm->address, 4);
	d->connecting++;
	r->begun++;
	request(d, CSVN_REQ_CONNECT, &record, sizeof(record));
}

/* Begin as many as there may be at once, on the pairs in turn. */
static bool begin(struct setup_run *r)
{
	uint32_t under_way = r->begun - r->served, pairs = r->count / 2;
	bool any = false;

	for (uint32_t i = 0; i < pairs && r->begun < r->job->count; i++) {
		struct driver *d = &r->drivers[2 * ((r->begun + i) % pairs)];
		uint32_t share = (r->job->at_once + pairs - 1) / pairs;

		while (under_way < r->job->at_once && r->begun < r->job->count && d->connecting < share && can_request(d, 4)) {
			connect_one(r, d);
			under_way++;
			any = true;
		}
	}
	return any;
}

static void sleep_for_interrupt(struct setup_run *r)
{
	bool ready = false, unseen = false;
	eventfd_t ignored;
	int n = 0;

	for (uint32_t i = 0; i < r->count; i++)
		for (uint32_t q = 0; q < SETUP_QUEUES; q++)
			ready |= arm(&r->drivers[i], q);
	if (ready)
		return;
	/* Circuits on which bytes are awaited: as a reader that sleeps does. */
	for (uint32_t i = 0; i < r->count; i++) {
		struct driver *d = &r->drivers[i];

		for (uint32_t u = 0; u < d->unread_count; u++) {
			uint32_t bytes = 0;

			csvn_arm_rx(end_of(d, d->unread[u]));
			if (csvn_rx_ready(end_of(d, d->unread[u]), 1, &bytes) < 0 || bytes)
				return;
		}
	}
	for (uint32_t i = 0; i < r->count; i++)
		unseen |= r->drivers[i].unseen_count > 0;
	n = poll(r->polls, r->count * SETUP_QUEUES, unseen ? 1 : WAIT_MS);
	if (n == 0 && !unseen)
		r->error = -ETIMEDOUT;
	for (uint32_t i = 0; i < r->count * SETUP_QUEUES; i++)
		if (r->polls[i].revents)
			eventfd_read(r->polls[i].fd, &ignored);
}

static bool finished(const struct setup_run *r)
{
	if (r->served < r->job->count)
		return false;
	for (uint32_t i = 0; i < r->count; i++)
		if (r->drivers[i].closing || r->drivers[i].credit)
			return false;
	return true;
}

struct setup_run *setup_begin(struct setup_vm *vms, uint32_t count)
{
	struct setup_run *r = calloc(1, sizeof(*r));

	r->drivers = calloc(count, sizeof(*r->drivers));
	r->polls = calloc(count * SETUP_QUEUES, sizeof(*r->polls));
	r->count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct driver *d = &r->drivers[i];

		d->vm = &vms[i];
		d->peer = &r->drivers[i ^ 1];
		d->local_port = 1024;
		d->ends = calloc(CIRCUITS, sizeof(*d->ends));
		d->unread = calloc(CIRCUITS, sizeof(*d->unread));
		for (uint32_t s = 0; s < SLOTS; s++)
			d->free_requests[d->free_request_count++] = d->free_bells[d->free_bell_count++] = s;
		for (uint32_t q = 0; q < SETUP_QUEUES; q++)
			r->polls[i * SETUP_QUEUES + q] = (struct pollfd){ .fd = vms[i].queues[q].call, .events = POLLIN };
	}
	return r;
}

void setup_end(struct setup_run *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		free(r->drivers[i].ends);
		free(r->drivers[i].unread);
	}
	free(r->drivers);
	free(r->polls);
	free(r);
}

int setup_circuits(struct setup_run *r, const struct setup_job *job, uint64_t *elapsed)
{
	uint64_t began = now_ns();

	r->job = job;
	r->begun = r->served = 0;
	while (!r->error && !finished(r)) {
		bool any = begin(r);

		for (uint32_t i = 0; i < r->count; i++) {
			any |= harvest(r, &r->drivers[i]);
			any |= serve(r, &r->drivers[i]);
			kick_all(&r->drivers[i]);
		}
		if (!any)
			sleep_for_interrupt(r);
	}
	*elapsed = now_ns() - began;
	return r->error;
}
