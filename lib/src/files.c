/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "port.h"

/* A table's object is never NULL: the descriptor is kept one higher. */
static void *boxed(int fd)
{
	return (void *)((intptr_t)fd + 1);
}

static int unboxed(const void *object)
{
	return (int)((intptr_t)object - 1);
}

int files_receive(struct port *p)
{
	int file, fd, rc;

	while ((rc = link_take_file(&p->link, &file, &fd)) > 0) {
		if (fd >= 0 && handle_put(&p->files, file, boxed(fd)) < 0)
			close(fd);
	}
	return rc;
}

int file_get(struct port *p, int file)
{
	const void *object = handle_get(&p->files, file);

	if (!object) {
		(void)files_receive(p);
		object = handle_get(&p->files, file);
	}
	return object ? unboxed(object) : -EBADF;
}

int file_take(struct port *p, int file)
{
	int fd = file_get(p, file);

	if (fd >= 0)
		(void)handle_remove(&p->files, file);
	return fd;
}

void file_close(struct port *p, int file)
{
	int fd = file_take(p, file);

	if (fd >= 0)
		close(fd);
}

void files_end(struct port *p)
{
	void *object;

	handle_for_each(&p->files, i, object)
		close(unboxed(object));
	handle_table_free(&p->files);
}
