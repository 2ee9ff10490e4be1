/* SPDX-License-Identifier: MIT */
/*
 * What a front-end can do that wants the switch to wait: descriptors of files that do not answer, and threads that keep something busy. Results are
 * >= 0 or -errno. Each thing is there once: it is a test's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "csvn/abi.h"

CSVN_EXPORT int attack_block_eventfd(int fd);
CSVN_EXPORT int attack_linger(int *out);
CSVN_EXPORT int attack_hugetlb(uint64_t bytes);
CSVN_EXPORT int attack_punch(int fd, uint64_t bytes);
CSVN_EXPORT int attack_fuse_open(const char *directory);
CSVN_EXPORT int attack_fuse_end(void);
CSVN_EXPORT int attack_busy_start(uint32_t what, int fd, uint64_t bytes, const char *path, uint32_t threads);
CSVN_EXPORT int attack_busy_stop(void);

/* Whoever writes to it waits, for ever. */
int attack_block_eventfd(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (eventfd_write(fd, UINT64_MAX - 1) < 0 && errno != EAGAIN)
		return -errno;
	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static int loopback(struct sockaddr_in *at)
{
	socklen_t bytes = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (fd < 0 || bind(fd, (struct sockaddr *)at, sizeof(*at)) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)at, &bytes) < 0)
		return -errno;
	return fd;
}

/* A socket whose close() waits for 20 s, since nobody reads what was sent: it, its peer, and what that was accepted from. */
int attack_linger(int *out)
{
	static const uint8_t bytes[65536];
	struct linger linger = { .l_onoff = 1, .l_linger = 20 };
	struct sockaddr_in at;
	int listener = loopback(&at), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (listener < 0)
		return listener;
	if (fd < 0 || (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 && errno != EINPROGRESS))
		return -errno;
	out[0] = fd;
	out[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	out[2] = listener;
	if (out[1] < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		return -errno;
	while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		;
	/* A close() that finds it non-blocking waits for nothing. */
	return fcntl(fd, F_SETFL, 0) < 0 ? -errno : 0;
}

/* Sealed memory in huge pages, of which the system may have none. */
int attack_hugetlb(uint64_t bytes)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return fd;
}

int attack_punch(int fd, uint64_t bytes)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) < 0 ? -errno : 0;
}

/*
 * A file system in user space with one file. Its server answers until that is open, then takes every request and answers none: whoever waits for an
 * answer cannot be killed. It is mounted where only the thread that opens the file sees it, so that it goes with its last descriptor.
 */
static struct {
	const char *directory;
	int device, file;
	atomic_bool silent, over;
	pthread_t server;
} fuse = { .device = -1 };

static void reply(const struct fuse_in_header *in, int error, const void *body, size_t bytes)
{
	struct {
		struct fuse_out_header header;
		uint8_t body[256];
	} out = { .header = { .len = (uint32_t)(sizeof(out.header) + bytes), .error = error, .unique = in->unique } };

	if (bytes)
		memcpy(out.body, body, bytes);
	(void)!write(fuse.device, &out, out.header.len);
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){ .ino = node,
				   .size = node == FUSE_ROOT_ID ? 0 : 4u << 20,
				   .mode = node == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600,
				   .nlink = 1,
				   .blksize = 4096 };
}

static void serve(const struct fuse_in_header *in)
{
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };
	struct fuse_entry_out entry = { .nodeid = 2, .attr = attributes(2) };
	struct fuse_attr_out attr = { .attr = attributes(in->nodeid) };
	struct fuse_open_out open = { .fh = 1 };

	switch (in->opcode) {
	case FUSE_INIT:
		reply(in, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		reply(in, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		reply(in, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		reply(in, 0, &open, sizeof(open));
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(in, -ENOSYS, NULL, 0);
	}
}

static void *run_server(void *unused)
{
	static uint8_t request[65536];

	while (!fuse.over) {
		struct pollfd p = { .fd = fuse.device, .events = POLLIN };

		if (poll(&p, 1, 10) == 1 && read(fuse.device, request, sizeof(request)) > 0 && !fuse.silent)
			serve((const void *)request);
	}
	/* All that wait are told that nobody is there. */
	close(fuse.device);
	fuse.device = -1;
	return unused;
}

static void *open_file(void *unused)
{
	char options[128], path[512];

	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.device);
	(void)snprintf(path, sizeof(path), "%s/file", fuse.directory);
	if (unshare(CLONE_NEWNS | CLONE_FS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("csvn-silent", fuse.directory, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		fuse.file = -errno;
	else
		fuse.file = open(path, O_RDWR | O_CLOEXEC);
	if (fuse.file == -1)
		fuse.file = -errno;
	return unused;
}

/* The file's descriptor. It must not be closed before attack_fuse_end(). */
int attack_fuse_open(const char *directory)
{
	pthread_t opener;

	fuse.directory = directory;
	fuse.silent = fuse.over = false;
	fuse.device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse.device < 0)
		return -errno;
	if (pthread_create(&fuse.server, NULL, run_server, NULL) != 0)
		return -EAGAIN;
	if (pthread_create(&opener, NULL, open_file, NULL) != 0)
		return -EAGAIN;
	pthread_join(opener, NULL);
	fuse.silent = true;
	if (fuse.file < 0)
		(void)attack_fuse_end();
	return fuse.file;
}

int attack_fuse_end(void)
{
	fuse.over = true;
	return -pthread_join(fuse.server, NULL);
}

/* Threads that keep something busy. */
enum busy { BUSY_NOTHING, BUSY_SIGNALS, BUSY_PUNCHES, BUSY_CONNECTS, BUSY_WRITES };

#define THREADS_MAX 2

static struct {
	enum busy what;
	int fd;
	uint64_t bytes;
	const char *path;
	atomic_bool over;
	uint32_t count;
	pthread_t threads[THREADS_MAX];
} busy;

static void connect_once(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(at.sun_path, busy.path, sizeof(at.sun_path) - 1);
	(void)connect(fd, (const struct sockaddr *)&at, sizeof(at));
	close(fd);
}

/* The inode's lock is held meanwhile. */
static void write_all(void)
{
	void *zeros = mmap(NULL, busy.bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (zeros == MAP_FAILED)
		return;
	(void)!pwrite(busy.fd, zeros, busy.bytes, 0);
	munmap(zeros, busy.bytes);
}

static void *keep_busy(void *unused)
{
	while (!busy.over) {
		switch (busy.what) {
		case BUSY_NOTHING:
			break;
		case BUSY_SIGNALS:
			(void)eventfd_write(busy.fd, 1);
			break;
		case BUSY_PUNCHES:
			(void)attack_punch(busy.fd, busy.bytes);
			break;
		case BUSY_CONNECTS:
			connect_once();
			break;
		case BUSY_WRITES:
			write_all();
			break;
		}
	}
	return unused;
}

int attack_busy_start(uint32_t what, int fd, uint64_t bytes, const char *path, uint32_t threads)
{
	static char kept[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int rc = 0;

	(void)snprintf(kept, sizeof(kept), "%s", path);
	busy.what = (enum busy)what;
	busy.fd = fd;
	busy.bytes = bytes;
	busy.path = kept;
	busy.over = false;
	for (busy.count = 0; rc == 0 && busy.count < threads && busy.count < THREADS_MAX; busy.count += rc == 0)
		rc = -pthread_create(&busy.threads[busy.count], NULL, keep_busy, NULL);
	return rc;
}

int attack_busy_stop(void)
{
	busy.over = true;
	while (busy.count)
		pthread_join(busy.threads[--busy.count], NULL);
	return 0;
}
