/* SPDX-License-Identifier: MIT */
/*
 * Interrupts of a turn: answers and announcements are there at once, and all that one turn's commands gave come to one interrupt for each queue; with
 * queues that are full, indices that run over, and queues that stop meanwhile. And what is delivered is counted, however it came to its end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "port_client.h"
#include "csvn/records.h"

#define SIZE 16u /* entries of a queue */
#define REQUESTS (SIZE / 2) /* two descriptors each: with so many its queue is full */
#define MEMORY 65536u
#define QUEUE_BYTES 4096u
#define AVAIL 1024u
#define USED 2048u
#define BUFFERS 32768u
#define BUFFER_BYTES 256u
#define RESPONSE 24u

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

struct vm {
	struct client client;
	uint8_t *memory;
	uint64_t features;
	int kicks[2], calls[2];
	uint16_t available[2];
	uint32_t tickets[REQUESTS];
};

static uint16_t *word(struct vm *vm, uint32_t queue, uint32_t at)
{
	return (uint16_t *)(void *)(vm->memory + queue * QUEUE_BYTES + at);
}

static struct desc *descriptor(struct vm *vm, uint32_t queue, uint32_t index)
{
	return (struct desc *)(void *)(vm->memory + queue * QUEUE_BYTES) + index;
}

static void offer(struct vm *vm, uint32_t queue, uint32_t head)
{
	*word(vm, queue, AVAIL + 4 + 2 * (vm->available[queue] % SIZE)) = (uint16_t)head;
	__atomic_store_n(word(vm, queue, AVAIL + 2), ++vm->available[queue], __ATOMIC_RELEASE);
}

static uint16_t used(struct vm *vm, uint32_t queue)
{
	return __atomic_load_n(word(vm, queue, USED + 2), __ATOMIC_ACQUIRE);
}

/* Ask for an interrupt at the next buffer that comes back. */
static void arm(struct vm *vm, uint32_t queue)
{
	*word(vm, queue, AVAIL + 4 + 2 * SIZE) = used(vm, queue);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint32_t interrupts(struct vm *vm, uint32_t queue)
{
	eventfd_t count = 0;

	(void)eventfd_read(vm->calls[queue], &count);
	return (uint32_t)count;
}

static struct csvn_queue_setup setup(struct vm *vm, uint32_t queue, uint16_t base)
{
	return (struct csvn_queue_setup){ .features = vm->features,
					  .index = queue,
					  .size = SIZE,
					  .base = base,
					  .desc = queue * QUEUE_BYTES,
					  .avail = queue * QUEUE_BYTES + AVAIL,
					  .used = queue * QUEUE_BYTES + USED,
					  .kick = dup(vm->kicks[queue]),
					  .call = dup(vm->calls[queue]) };
}

/* base: where its indices begin. */
static void boot(struct vm *vm, uint16_t base, bool event_index)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct csvn_region region = { .size = MEMORY, .token = fd };

	memset(vm, 0, sizeof(*vm));
	vm->features = (uint64_t)event_index << VIRTIO_F_EVENT_IDX;
	client_open(&vm->client, -1);
	CHECK(ftruncate(fd, MEMORY) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	vm->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(vm->memory != MAP_FAILED);
	CHECK(client_ask(&vm->client, CSVN_COMMAND_MEMORY, 0, 0, &region, sizeof(region)) == 0);
	client_command(&vm->client, CSVN_COMMAND_TOKEN_CLOSE, fd, 0, NULL, 0);
	CHECK(fcntl(fd, F_GETFD) < 0);
	for (uint32_t q = 0; q < 2; q++) {
		struct csvn_queue_setup s;

		vm->kicks[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vm->calls[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vm->available[q] = base;
		*word(vm, q, AVAIL + 2) = *word(vm, q, USED + 2) = base;
		s = setup(vm, q, base);
		CHECK(client_ask(&vm->client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s)) == 0);
		arm(vm, q);
	}
}

static void shut(struct vm *vm)
{
	client_close(&vm->client);
	munmap(vm->memory, MEMORY);
	for (uint32_t q = 0; q < 2; q++) {
		close(vm->kicks[q]);
		close(vm->calls[q]);
	}
}

/* Fill the control queue with requests, and the event queue with buffers; wait until the requests have come. */
static void fill(struct vm *vm)
{
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint64_t guest = BUFFERS + i * BUFFER_BYTES;

		*descriptor(vm, 0, 2 * i) = (struct desc){ guest, 16, 1, (uint16_t)(2 * i + 1) };
		*descriptor(vm, 0, 2 * i + 1) = (struct desc){ guest + 128, 128, 2, 0 };
		offer(vm, 0, 2 * i);
	}
	for (uint32_t i = 0; i < SIZE; i++) {
		*descriptor(vm, 1, i) = (struct desc){ BUFFERS + (REQUESTS + i) * BUFFER_BYTES, BUFFER_BYTES, 2, 0 };
		offer(vm, 1, i);
	}
	CHECK(eventfd_write(vm->kicks[0], 1) == 0 && eventfd_write(vm->kicks[1], 1) == 0);
	for (uint32_t i = 0; i < REQUESTS; i++)
		vm->tickets[i] = client_await(&vm->client, CSVN_EVENT_CONTROL).header.aux;
	client_turn(&vm->client);
	CHECK(vm->client.count == 0);
}

static void put_reply(struct vm *vm, uint32_t i)
{
	static const uint8_t response[RESPONSE];

	client_put(&vm->client, CSVN_COMMAND_REPLY, 0, vm->tickets[i], response, sizeof(response));
}

static void put_announcement(struct vm *vm, uint16_t type)
{
	struct csvn_header event = { .type = type };

	client_put(&vm->client, CSVN_COMMAND_ANNOUNCE, 0, 0, &event, sizeof(event));
}

/* What the brain is told of announcements. */
static struct csvn_progress progress(const struct vm *vm)
{
	return vm->client.link.shared->progress;
}

/*
 * Round by round: all in one turn, or each command in a turn of its own, for each of which the driver is interrupted if it wants that. Without event
 * indices it always wants it.
 */
static void test_batches(bool event_index)
{
	static struct vm vm;
	uint64_t announced = 0;

	/* The indices run over in the third of these. */
	boot(&vm, (uint16_t)(0u - 2 * REQUESTS - 3), event_index);
	for (uint32_t round = 0; round < 6; round++) {
		uint16_t before[2] = { used(&vm, 0), used(&vm, 1) };
		bool one = round != 4;

		fill(&vm);
		arm(&vm, 0);
		arm(&vm, 1);
		interrupts(&vm, 0);
		interrupts(&vm, 1);
		for (uint32_t i = 0; i < REQUESTS; i++) {
			/* The second of these is for a request that is answered. */
			put_reply(&vm, i);
			put_reply(&vm, i);
			if (one)
				continue;
			client_turn(&vm.client);
			CHECK((uint16_t)(used(&vm, 0) - before[0]) == i + 1);
			CHECK(interrupts(&vm, 0) == 1);
			client_turn(&vm.client);
			CHECK(interrupts(&vm, 0) == 0);
			arm(&vm, 0);
		}
		/* Beyond the buffers there are, announcements wait for more; that is no reason for an interrupt. */
		for (uint32_t i = 0; i < SIZE + 3; i++) {
			put_announcement(&vm, CSVN_EV_INCOMING);
			if (one)
				continue;
			client_turn(&vm.client);
			CHECK((uint16_t)(used(&vm, 1) - before[1]) == (i < SIZE ? i + 1 : SIZE));
			CHECK(interrupts(&vm, 1) == (i < SIZE ? 1 : 0));
			arm(&vm, 1);
		}
		CHECK(interrupts(&vm, 0) == 0 && interrupts(&vm, 1) == 0);
		client_turn(&vm.client);
		CHECK((uint16_t)(used(&vm, 0) - before[0]) == REQUESTS && (uint16_t)(used(&vm, 1) - before[1]) == SIZE);
		CHECK(interrupts(&vm, 0) == (one ? 1 : 0) && interrupts(&vm, 1) == (one ? 1 : 0));
		announced += SIZE;
		CHECK(progress(&vm).delivered == announced);
		client_turn(&vm.client);
		CHECK(interrupts(&vm, 0) == 0 && interrupts(&vm, 1) == 0);
		/* Buffers come: what has waited is handed over, and counted. */
		arm(&vm, 1);
		for (uint32_t i = 0; i < 3; i++)
			offer(&vm, 1, i);
		CHECK(eventfd_write(vm.kicks[1], 1) == 0);
		client_turn(&vm.client);
		CHECK((uint16_t)(used(&vm, 1) - before[1]) == SIZE + 3 && interrupts(&vm, 1) == 1);
		announced += 3;
		CHECK(progress(&vm).delivered == announced && progress(&vm).delivered_resets == 0);
		CHECK(progress(&vm).counters.announcements == announced);
	}
	shut(&vm);
}

/* A front-end that stops a queue, to start it again elsewhere: its driver is interrupted for what it was given before, and the successor has none. */
static void test_stopped(void)
{
	static struct vm vm;
	struct csvn_queue_setup s;
	int old;

	boot(&vm, 0, true);
	fill(&vm);
	interrupts(&vm, 0);
	interrupts(&vm, 1);
	put_reply(&vm, 0);
	put_announcement(&vm, CSVN_EV_INCOMING);
	client_put(&vm.client, CSVN_COMMAND_QUEUE_STOP, 0, 0, NULL, 0);
	client_put(&vm.client, CSVN_COMMAND_QUEUE_STOP, 1, 0, NULL, 0);
	CHECK(interrupts(&vm, 0) == 0 && interrupts(&vm, 1) == 0);
	client_turn(&vm.client);
	CHECK(interrupts(&vm, 0) == 1 && interrupts(&vm, 1) == 1);
	CHECK(client_await(&vm.client, CSVN_EVENT_RESULT).header.aux == REQUESTS);
	CHECK(client_await(&vm.client, CSVN_EVENT_RESULT).header.aux == 1);
	/* Given and stopped and started again in one turn: the old descriptor is signalled for it. */
	s = setup(&vm, 0, REQUESTS);
	*word(&vm, 0, USED + 2) = REQUESTS;
	CHECK(client_ask(&vm.client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s)) == 0);
	s = setup(&vm, 1, 1);
	CHECK(client_ask(&vm.client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s)) == 0);
	fill(&vm);
	arm(&vm, 0);
	interrupts(&vm, 0);
	put_reply(&vm, 0);
	client_put(&vm.client, CSVN_COMMAND_QUEUE_STOP, 0, 0, NULL, 0);
	old = vm.calls[0];
	vm.calls[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s = setup(&vm, 0, 2 * REQUESTS);
	client_put(&vm.client, CSVN_COMMAND_QUEUE_START, 0, 0, &s, sizeof(s));
	/* An answer to what the queue was asked before it was stopped comes too late. */
	put_reply(&vm, 1);
	for (int i = 0; i < 3; i++)
		client_turn(&vm.client);
	CHECK(used(&vm, 0) == REQUESTS + 1 && interrupts(&vm, 0) == 0);
	close(vm.calls[0]);
	vm.calls[0] = old;
	CHECK(interrupts(&vm, 0) == 1);
	shut(&vm);
}

/* Announcements that nobody will take any more are as good as delivered: the brain waits for none of them. */
static void test_delivered(void)
{
	static struct vm vm;
	struct csvn_progress p;

	boot(&vm, 0, true);
	for (int i = 0; i < 100; i++) {
		put_announcement(&vm, CSVN_EV_INCOMING);
		put_announcement(&vm, CSVN_EV_RESET);
	}
	client_turn(&vm.client);
	p = progress(&vm);
	CHECK(p.done == vm.client.given && p.delivered == 0 && p.delivered_resets == 0);
	/* Some are delivered, in their order. */
	for (uint32_t i = 0; i < 5; i++) {
		*descriptor(&vm, 1, i) = (struct desc){ BUFFERS + i * BUFFER_BYTES, BUFFER_BYTES, 2, 0 };
		offer(&vm, 1, i);
	}
	CHECK(eventfd_write(vm.kicks[1], 1) == 0);
	client_turn(&vm.client);
	p = progress(&vm);
	CHECK(p.delivered == 3 && p.delivered_resets == 2);
	for (uint32_t i = 0; i < 5; i++) {
		struct csvn_header event;

		memcpy(&event, vm.memory + BUFFERS + i * BUFFER_BYTES, sizeof(event));
		CHECK(event.type == (i % 2 ? CSVN_EV_RESET : CSVN_EV_INCOMING));
	}
	/* The rest goes with the queue, and so does what is announced to one that does not run. */
	CHECK(client_ask(&vm.client, CSVN_COMMAND_QUEUE_STOP, 1, 0, NULL, 0) == 5);
	p = progress(&vm);
	CHECK(p.delivered == 100 && p.delivered_resets == 100);
	put_announcement(&vm, CSVN_EV_INCOMING);
	put_announcement(&vm, CSVN_EV_RESET);
	client_turn(&vm.client);
	p = progress(&vm);
	CHECK(p.delivered == 101 && p.delivered_resets == 101 && p.counters.announcements == 5);
	shut(&vm);
}

int main(int argc, char **argv)
{
	test_seed(argc, argv);
	test_batches(false);
	test_batches(true);
	test_stopped();
	test_delivered();
	return 0;
}
