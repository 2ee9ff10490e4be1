// SPDX-License-Identifier: MIT
/*
 * What a program cannot do with a mapping, and what cannot be mapped.
 *
 *     rights ADDRESS PORT          of somebody who listens
 */
#include "zero.h"

static void *try(const struct csvn_map_layout *l, int fd, uint64_t offset, size_t length, int prot, int flags)
{
	(void)l;
	return mmap(NULL, length, prot, flags, fd, (off_t)offset);
}

static void unmappable(const char *address, int port)
{
	struct csvn_map_layout l = { .version = CSVN_MAP_VERSION };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct sockaddr_in own;
	socklen_t bytes = sizeof(own);
	struct csvn c;
	int fd, server;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	refused("MAP of an unconnected socket", ioctl(fd, CSVN_IOC_MAP, &l), ENOTTY);
	refused("KICK of an unconnected socket", ioctl(fd, CSVN_IOC_KICK), ENOTTY);
	check("csvn_map of an unconnected socket", csvn_map(&c, fd) == -EOPNOTSUPP);
	close(fd);

	server = socket(AF_INET, SOCK_STREAM, 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	own = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (bind(server, (struct sockaddr *)&own, sizeof(own)) < 0 || listen(server, 1) < 0 ||
	    getsockname(server, (struct sockaddr *)&own, &bytes) < 0 || connect(fd, (struct sockaddr *)&own, bytes) < 0)
		fail("loopback");
	refused("MAP of a loopback socket", ioctl(fd, CSVN_IOC_MAP, &l), ENOTTY);
	check("csvn_map of a loopback socket", csvn_map(&c, fd) == -EOPNOTSUPP);
	refused("MAP of a listening socket", ioctl(server, CSVN_IOC_MAP, &l), ENOTTY);
	close(fd);
	close(server);

	fd = socket(AF_INET, SOCK_DGRAM, 0);
	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("connect");
	refused("MAP of a datagram socket", ioctl(fd, CSVN_IOC_MAP, &l), ENOTTY);
	refused("mmap of a datagram socket", (long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
	close(fd);

	fd = dial(address, port);
	refused("mmap before MAP", (long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
	l.version = CSVN_MAP_VERSION + 1;
	refused("MAP of another version", ioctl(fd, CSVN_IOC_MAP, &l), EPROTONOSUPPORT);
	check("the kernel's version", l.version == CSVN_MAP_VERSION);
	refused("MAP to nowhere", ioctl(fd, CSVN_IOC_MAP, NULL), EFAULT);
	close(fd);
}

void rights(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct csvn_map_layout l = { .version = CSVN_MAP_VERSION };
	uint8_t *mine, *theirs;
	uint64_t part;
	int fd;

	check("two arguments", argc == 2);
	unmappable(argv[0], atoi(argv[1]));
	fd = dial(argv[0], atoi(argv[1]));
	if (ioctl(fd, CSVN_IOC_MAP, &l) < 0)
		fail("MAP");
	part = l.length;
	check("the length", part == 4096 + 2 * (uint64_t)l.ring_size);

	refused("theirs for writing", (long)try(&l, fd, l.theirs, part, rw, MAP_SHARED), EACCES);
	refused("theirs for writing alone", (long)try(&l, fd, l.theirs, part, PROT_WRITE, MAP_SHARED), EACCES);
	refused("a private mapping", (long)try(&l, fd, l.mine, part, PROT_READ, MAP_PRIVATE), EINVAL);
	refused("code", (long)try(&l, fd, l.mine, part, PROT_READ | PROT_EXEC, MAP_SHARED), EPERM);
	refused("both parts", (long)try(&l, fd, l.mine, 2 * part, PROT_READ, MAP_SHARED), EINVAL);
	refused("across the parts", (long)try(&l, fd, l.mine + part - 4096, 8192, PROT_READ, MAP_SHARED), EINVAL);
	refused("past the parts", (long)try(&l, fd, l.theirs + part, 4096, PROT_READ, MAP_SHARED), EINVAL);
	refused("past the end", (long)try(&l, fd, l.theirs + part - 4096, 8192, PROT_READ, MAP_SHARED), EINVAL);
	refused("far away", (long)try(&l, fd, 1ull << 40, 4096, PROT_READ, MAP_SHARED), EINVAL);
	refused("at the end of everything",
		(long)try(&l, fd, 0x7ffffffffffff000ull - 4096, 4096, PROT_READ, MAP_SHARED), EINVAL);

	mine = try(&l, fd, l.mine, part, rw, MAP_SHARED);
	theirs = try(&l, fd, l.theirs, part, PROT_READ, MAP_SHARED);
	if (mine == MAP_FAILED || theirs == MAP_FAILED)
		fail("mmap");
	refused("mprotect of theirs for writing", mprotect(theirs, part, rw), EACCES);
	refused("mprotect of a page of theirs", mprotect(theirs + 4096, 4096, rw), EACCES);
	refused("mprotect of theirs to code", mprotect(theirs, part, PROT_READ | PROT_EXEC), EACCES);
	refused("mprotect of mine to code", mprotect(mine, part, rw | PROT_EXEC), EACCES);
	refused("mremap to more", (long)mremap(mine, part, part + 4096, MREMAP_MAYMOVE), EFAULT);
	check("mremap to a second", mremap(theirs, 0, part, MREMAP_MAYMOVE) == MAP_FAILED);
	refused("inherited after all", madvise(mine, part, MADV_DOFORK), EINVAL);
	refused("dumped after all", madvise(mine, part, MADV_DODUMP), EINVAL);
	check("writing to theirs is SIGSEGV", writes(theirs) == SIGSEGV && writes(theirs + 4096) == SIGSEGV);
	check("reading theirs is all right", reads(theirs) == 0 && reads(theirs + part - 1) == 0);
	check("writing to mine is all right", writes(mine + 4096) == 0 && writes(mine + part - 1) == 0);

	/* The ring comes twice. */
	mine[4096] = 0x5a;
	check("the ring's second time", mine[4096 + l.ring_size] == 0x5a);
	mine[4096 + 2 * (size_t)l.ring_size - 1] = 0xa5;
	check("the ring's first time", mine[4096 + l.ring_size - 1] == 0xa5);

	/* Away and back: the rights are what they were. */
	if (mprotect(mine, part, PROT_NONE) < 0 || mprotect(mine, part, rw) < 0)
		fail("mprotect of mine");
	check("mine is there again", writes(mine + 4096) == 0);
	if (mprotect(theirs, part, PROT_NONE) < 0 || mprotect(theirs, part, PROT_READ) < 0)
		fail("mprotect of theirs");
	check("theirs is read-only again", reads(theirs) == 0 && writes(theirs) == SIGSEGV);
	theirs = mremap(theirs, part, part, MREMAP_MAYMOVE | MREMAP_FIXED, theirs + (1ull << 32));
	check("theirs elsewhere", theirs != MAP_FAILED && reads(theirs) == 0 && writes(theirs) == SIGSEGV);

	munmap(mine, part);
	munmap(theirs, part);
	close(fd);
}
