/* SPDX-License-Identifier: MIT */
/*
 * Interrupts that are held: answers and announcements are there at once, and all of them come to one interrupt for each queue; with
 * queues that are full, indices that run over, and devices that go meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "csvn/abi.h"
#include "csvn/records.h"

#define SIZE 16u /* entries of a queue */
#define REQUESTS (SIZE / 2) /* two descriptors each: with so many its queue is full */
#define MEMORY 65536u
#define QUEUE_BYTES 4096u
#define AVAIL 1024u
#define USED 2048u
#define BUFFERS 32768u
#define BUFFER_BYTES 256u

struct desc {
	uint64_t guest;
	uint32_t bytes;
	uint16_t flags, next;
};

struct vm {
	int plane, device;
	uint8_t *memory;
	int kicks[2], calls[2];
	uint16_t available[2];
	uint32_t tickets[REQUESTS];
};

static uint8_t events[65536];

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

/* base: where its indices begin. */
static struct vm boot(int plane, uint16_t base)
{
	struct vm vm = { .plane = plane, .device = csvn_device_open(plane) };
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct csvn_region region = { .size = MEMORY, .fd = fd };

	CHECK(vm.device >= 0 && ftruncate(fd, MEMORY) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	vm.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(vm.memory != MAP_FAILED && csvn_device_memory(plane, vm.device, &region, 1) == 0);
	close(fd);
	for (uint32_t q = 0; q < 2; q++) {
		struct csvn_queue_setup setup = { .features = 1ull << 29, .index = q, .size = SIZE, .base = base };

		vm.kicks[q] = eventfd(0, EFD_NONBLOCK);
		vm.calls[q] = eventfd(0, EFD_NONBLOCK);
		vm.available[q] = base;
		*word(&vm, q, AVAIL + 2) = *word(&vm, q, USED + 2) = base;
		setup.desc = q * QUEUE_BYTES;
		setup.avail = setup.desc + AVAIL;
		setup.used = setup.desc + USED;
		setup.kick = dup(vm.kicks[q]);
		setup.call = dup(vm.calls[q]);
		CHECK(csvn_queue_start(plane, vm.device, &setup) == 0);
		arm(&vm, q);
	}
	return vm;
}

static void shut(struct vm *vm)
{
	munmap(vm->memory, MEMORY);
	for (uint32_t q = 0; q < 2; q++) {
		close(vm->kicks[q]);
		close(vm->calls[q]);
	}
}

/* Fill the control queue with requests, and the event queue with buffers; wait until the requests have come. */
static void fill(struct vm *vm)
{
	uint32_t came = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint64_t guest = BUFFERS + i * BUFFER_BYTES;

		*descriptor(vm, 0, 2 * i) = (struct desc){ guest, 16, 1, (uint16_t)(2 * i + 1) };
		*descriptor(vm, 0, 2 * i + 1) = (struct desc){ guest + 128, 128, 2, 0 };
		offer(vm, 0, 2 * i);
	}
	for (uint32_t i = 0; i < SIZE; i++) {
		*descriptor(vm, 1, i) = (struct desc){ BUFFERS + (REQUESTS + i) * BUFFER_BYTES, CSVN_RECORD_MAX, 2, 0 };
		offer(vm, 1, i);
	}
	CHECK(eventfd_write(vm->kicks[0], 1) == 0 && eventfd_write(vm->kicks[1], 1) == 0);
	for (int i = 0; came < REQUESTS; i++) {
		int bytes = csvn_events_take(vm->plane, events, sizeof(events));

		CHECK(bytes >= 0 && i < 10000);
		if (bytes == 0)
			usleep(1000);
		for (int at = 0; at < bytes; came++) {
			struct csvn_event_header h;

			memcpy(&h, events + at, sizeof(h));
			CHECK(h.kind == CSVN_EVENT_CONTROL && h.handle == vm->device && came < REQUESTS);
			vm->tickets[came] = h.aux;
			at += (int)((h.length + 7) & ~7u);
		}
	}
}

static int reply(struct vm *vm, uint32_t i)
{
	static const uint8_t response[24];

	return csvn_device_reply(vm->plane, vm->device, vm->tickets[i], response, sizeof(response));
}

static int announce(struct vm *vm)
{
	static const uint8_t event[24];

	return csvn_device_announce(vm->plane, vm->device, event, sizeof(event));
}

static void test_batches(int plane)
{
	/* The indices run over in the third of these. */
	struct vm vm = boot(plane, (uint16_t)(0u - 2 * REQUESTS - 3));

	for (uint32_t round = 0; round < 6; round++) {
		uint16_t before[2] = { used(&vm, 0), used(&vm, 1) };
		bool hold = round != 4;

		fill(&vm);
		arm(&vm, 0);
		arm(&vm, 1);
		interrupts(&vm, 0);
		interrupts(&vm, 1);
		CHECK(csvn_signals(plane, hold) == 0);
		for (uint32_t i = 0; i < REQUESTS; i++) {
			CHECK(reply(&vm, i) == 0 && reply(&vm, i) == -ESTALE);
			CHECK((uint16_t)(used(&vm, 0) - before[0]) == i + 1);
		}
		/* Beyond the buffers there are, announcements wait for more; that is no reason for an interrupt. */
		for (uint32_t i = 0; i < SIZE + 3; i++) {
			CHECK(announce(&vm) == 0);
			CHECK((uint16_t)(used(&vm, 1) - before[1]) == (i < SIZE ? i + 1 : SIZE));
		}
		CHECK(interrupts(&vm, 0) == (hold ? 0 : 1) && interrupts(&vm, 1) == (hold ? 0 : 1));
		CHECK(csvn_signals(plane, round % 2) == 0);
		CHECK(interrupts(&vm, 0) == (hold ? 1 : 0) && interrupts(&vm, 1) == (hold ? 1 : 0));
		CHECK(csvn_signals(plane, 0) == 0);
		CHECK(interrupts(&vm, 0) == 0 && interrupts(&vm, 1) == 0);
		for (uint32_t i = 0; i < 3; i++)
			offer(&vm, 1, i);
		CHECK(eventfd_write(vm.kicks[1], 1) == 0);
		while ((uint16_t)(used(&vm, 1) - before[1]) != SIZE + 3)
			usleep(100);
	}
	CHECK(csvn_device_close(plane, vm.device) == 0);
	shut(&vm);
}

/* A device that has an interrupt due, and is gone; its successor in the same place has none. */
static void test_gone(int plane)
{
	struct vm gone = boot(plane, 0), other = boot(plane, 0), next;

	fill(&gone);
	fill(&other);
	CHECK(csvn_signals(plane, 1) == 0 && reply(&gone, 0) == 0 && reply(&other, 0) == 0);
	CHECK(csvn_device_close(plane, gone.device) == 0);
	next = boot(plane, 0);
	interrupts(&gone, 0);
	CHECK(csvn_signals(plane, 0) == 0);
	CHECK(interrupts(&gone, 0) == 0 && interrupts(&next, 0) == 0 && interrupts(&other, 0) == 1);
	CHECK(csvn_signals(12345, 0) == -EBADF);
	shut(&gone);
	shut(&other);
	shut(&next);
}

/* A front-end that stops a queue, to start it again elsewhere: its driver is interrupted for what it was given before. */
static void test_stopped(int plane)
{
	struct vm vm = boot(plane, 0);

	fill(&vm);
	interrupts(&vm, 0);
	interrupts(&vm, 1);
	CHECK(csvn_signals(plane, 1) == 0 && reply(&vm, 0) == 0 && announce(&vm) == 0);
	CHECK(interrupts(&vm, 0) == 0 && interrupts(&vm, 1) == 0);
	CHECK(csvn_queue_stop(plane, vm.device, 0) == REQUESTS && interrupts(&vm, 0) == 1 && interrupts(&vm, 1) == 0);
	CHECK(csvn_queue_stop(plane, vm.device, 1) >= 0 && interrupts(&vm, 1) == 1);
	CHECK(csvn_signals(plane, 0) == 0);
	CHECK(csvn_device_close(plane, vm.device) == 0);
	shut(&vm);
}

int main(int argc, char **argv)
{
	int plane = csvn_plane_open(1 << 20);

	test_seed(argc, argv);
	CHECK(plane >= 0);
	test_batches(plane);
	test_gone(plane);
	test_stopped(plane);
	CHECK(csvn_plane_close(plane) == 0);
	return 0;
}
