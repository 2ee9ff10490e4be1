/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that came from a front-end. It may have sent any file's, and it goes on sharing the file: its flags, its position, its other
 * end. So a file is asked nothing (not even by fstat() or close(), which a file system in user space answers, or does not) before it is known to be
 * of a kind that never waits for anybody. That is known without it: the kernel knows whose operations a file has.
 */
#ifndef CSVN_FOREIGN_H
#define CSVN_FOREIGN_H

enum foreign {
	FOREIGN_OTHER, /* anything: it is of no use, and is closed by foreign_close() alone */
	FOREIGN_MEMORY, /* a memfd, or another file in the system's memory */
	FOREIGN_EVENTFD,
	FOREIGN_CHANNEL, /* a unix stream socket */
};

struct interrupter; /* what eventfds are told by: interrupt.h */
struct stat;

enum foreign foreign_kind(struct interrupter *i, int fd);
/* Of memory: fstat(). By the descriptor itself: the C library's names a file, of sorts, which a port may not (jail.h). */
int foreign_stat(int memory, struct stat *st);
/*
 * Close it, without waiting for whatever its close() waits for. A channel is shut down, so that its other end hears of it even if somebody
 * has another descriptor of it.
 */
void foreign_close(struct interrupter *i, int fd);

#endif
