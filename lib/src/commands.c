/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <errno.h>
#include <string.h>

#include "announce.h"
#include "control.h"
#include "datagram_circuit.h"
#include "device_queues.h"
#include "doorbell.h"
#include "events.h"
#include "files.h"
#include "foreign.h"
#include "host_arena.h"
#include "host_circuit.h"
#include "host_connection.h"
#include "host_listener.h"
#include "host_options.h"
#include "peers.h"
#include "session.h"

#define COMMANDS_A_TURN 256u
#define RESULT_NUMBERS 0x7fffffffu

struct command {
	struct csvn_record record;
	const uint8_t *body;
	uint32_t count; /* bytes of it */
};

/* The body as a structure: a copy, since it is not aligned for all of them. False: it is of another size, which the brain does not send. */
static bool body(const struct command *c, void *out, uint32_t bytes)
{
	if (c->count != bytes)
		return false;
	memcpy(out, c->body, bytes);
	return true;
}

static void tell_result(struct port *p, int result)
{
	port_event(p, CSVN_EVENT_RESULT, (int)(p->done & RESULT_NUMBERS), (uint32_t)result,
		   (struct event_part){ NULL, 0 }, (struct event_part){ NULL, 0 });
}

static int set_memory(struct port *p, const struct command *c)
{
	struct csvn_region regions[MEMORY_REGIONS];
	uint32_t count = c->count / (uint32_t)sizeof(regions[0]);

	if (count > MEMORY_REGIONS || c->count % sizeof(regions[0]))
		return -E2BIG;
	memcpy(regions, c->body, c->count);
	return device_set_memory(p, &p->device, regions, count);
}

static int map_arena(struct port *p, const struct command *c)
{
	uint64_t bytes;

	return body(c, &bytes, sizeof(bytes)) ? host_arena_map(p, c->record.handle, file_get(p, (int)c->record.aux), bytes) :
						-EINVAL;
}

/* Of the front-end and the device. True: it was one of these. */
static bool obey_device(struct port *p, const struct command *c)
{
	struct csvn_queue_setup setup;
	int handle = c->record.handle;

	switch (c->record.kind) {
	case CSVN_COMMAND_SEND:
		session_send(p, c->body, c->count);
		return true;
	case CSVN_COMMAND_BACKEND_ATTACH:
		tell_result(p, session_attach_backend(p, handle));
		return true;
	case CSVN_COMMAND_BACKEND_SEND:
		session_send_backend(p, c->body, c->count, handle < 0 ? -1 : file_get(p, handle));
		return true;
	case CSVN_COMMAND_TOKEN_CLOSE:
		foreign_close(&p->interrupter, handle);
		return true;
	case CSVN_COMMAND_MEMORY:
		tell_result(p, set_memory(p, c));
		return true;
	case CSVN_COMMAND_QUEUE_START:
		tell_result(p, body(c, &setup, sizeof(setup)) ? device_start_queue(p, &p->device, &setup) : -EINVAL);
		return true;
	case CSVN_COMMAND_QUEUE_CALL:
		tell_result(p, device_set_call(p, &p->device, (uint32_t)handle, (int)c->record.aux));
		return true;
	case CSVN_COMMAND_QUEUE_STOP:
		tell_result(p, device_stop_queue(p, &p->device, (uint32_t)handle));
		return true;
	case CSVN_COMMAND_REPLY:
		control_reply(p, &p->device, c->record.aux, c->body, c->count);
		return true;
	case CSVN_COMMAND_ANNOUNCE:
		announce(p, &p->device, c->body, c->count);
		return true;
	default:
		return false;
	}
}

/* Of doorbells. */
static bool obey_route(struct port *p, const struct command *c)
{
	struct csvn_route route;
	struct csvn_board board;

	switch (c->record.kind) {
	case CSVN_COMMAND_ROUTE:
		if (body(c, &route, sizeof(route)))
			doorbell_route(p, &p->device, &route);
		return true;
	case CSVN_COMMAND_UNROUTE:
		doorbell_unroute(p, &p->device, c->record.aux);
		return true;
	case CSVN_COMMAND_BOARD:
		tell_result(p, body(c, &board, sizeof(board)) ? peer_add(p, c->record.handle, &board) : -EINVAL);
		return true;
	case CSVN_COMMAND_UNBOARD:
		peer_remove(p, c->record.handle);
		return true;
	default:
		return false;
	}
}

/* Of the host's stack. */
static bool obey_host(struct port *p, const struct command *c)
{
	struct csvn_host_address address;
	struct csvn_host_permit permit;
	struct csvn_host_setup setup;
	struct csvn_options options;
	int handle = c->record.handle;

	switch (c->record.kind) {
	case CSVN_COMMAND_ARENA:
		tell_result(p, map_arena(p, c));
		return true;
	case CSVN_COMMAND_UNARENA:
		host_arena_unmap(p, handle);
		return true;
	case CSVN_COMMAND_HOST_OPEN:
		if (body(c, &setup, sizeof(setup)))
			host_open(p, handle, &setup);
		return true;
	case CSVN_COMMAND_HOST_FINISH:
		host_finish(p, handle);
		datagram_finish(p, handle);
		return true;
	case CSVN_COMMAND_HOST_CLOSE:
		host_close(p, handle);
		datagram_close(p, handle);
		return true;
	case CSVN_COMMAND_HOST_OPTIONS:
		if (body(c, &options, sizeof(options)))
			host_options(p, handle, &options);
		return true;
	case CSVN_COMMAND_DATAGRAM_OPEN:
		if (body(c, &setup, sizeof(setup)))
			datagram_open(p, handle, &setup);
		return true;
	case CSVN_COMMAND_DATAGRAM_PERMIT:
		tell_result(p, body(c, &permit, sizeof(permit)) ? datagram_permit(p, handle, &permit) : -EINVAL);
		return true;
	case CSVN_COMMAND_DATAGRAM_FORGET:
		if (body(c, &address, sizeof(address)))
			datagram_forget(p, handle, &address);
		return true;
	case CSVN_COMMAND_LISTEN:
		tell_result(p, body(c, &address, sizeof(address)) ? host_listen(p, handle, &address) : -EINVAL);
		return true;
	case CSVN_COMMAND_UNLISTEN:
		host_unlisten(p, handle);
		return true;
	case CSVN_COMMAND_WAIT:
		if (host_connection_wait(p, handle) < 0)
			port_event(p, CSVN_EVENT_HOST_GONE, handle, 0, (struct event_part){ NULL, 0 },
				   (struct event_part){ NULL, 0 });
		return true;
	case CSVN_COMMAND_REFUSE:
		host_connection_refuse(p, handle);
		return true;
	default:
		return false;
	}
}

static void obey(struct port *p, const struct command *c)
{
	if (obey_device(p, c) || obey_route(p, c) || obey_host(p, c))
		return;
	if (c->record.kind == CSVN_COMMAND_FILE_CLOSE)
		file_close(p, c->record.handle);
	else if (c->record.kind == CSVN_COMMAND_END)
		p->over = true;
}

bool commands_obey(struct port *p)
{
	uint8_t bytes[LINK_RECORD_MAX];

	for (uint32_t i = 0; i < COMMANDS_A_TURN && !p->over; i++) {
		struct command c = { .body = bytes + sizeof(c.record) };
		int length = queue_next(&p->link.commands, bytes, sizeof(bytes));

		if (length == 0)
			return false;
		/* A brain that lies is none: there is no way to go on. */
		if (length < (int)sizeof(c.record)) {
			p->over = true;
			return false;
		}
		memcpy(&c.record, bytes, sizeof(c.record));
		c.count = (uint32_t)length - (uint32_t)sizeof(c.record);
		obey(p, &c);
		p->done++;
	}
	return !p->over;
}
