/* SPDX-License-Identifier: MIT */
/* Files that the brain has given, by its numbers. It gives each before it names it in a command. */
#ifndef CSVN_FILES_H
#define CSVN_FILES_H

struct port;

/* The descriptor of a file, which stays the table's; -EBADF. */
int file_get(struct port *p, int file);
/* The same, taken over by the caller. */
int file_take(struct port *p, int file);
void file_close(struct port *p, int file);
/* What has come and was not asked for is received. -EPIPE: the brain is gone. */
int files_receive(struct port *p);
void files_end(struct port *p);

#endif
