/* SPDX-License-Identifier: MIT */
/* The front-end's connection, and the back-end channel that it may give. */
#ifndef CSVN_SESSION_H
#define CSVN_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

#define MESSAGE_SECONDS 5 /* that a front-end has to complete a message */

void session_init(struct session *s, struct interrupter *i);
/* Begin with a front-end's connection, taken over. 0 or -errno. */
int session_begin(struct port *p, int front);
/* Close both connections. */
void session_end(struct port *p);
void session_read(struct port *p);
void session_read_backend(struct port *p);
void session_resume(struct port *p);
/* Once a second while a message is incomplete: a session that takes too long ends. */
void session_tick(struct port *p);
/* The brain is gone: answer in its place from now on. */
void session_alone(struct port *p);

/* Commands. */
void session_send(struct port *p, const uint8_t *bytes, uint32_t count);
int session_attach_backend(struct port *p, int fd); /* taken over */
void session_send_backend(struct port *p, const uint8_t *bytes, uint32_t count, int fd);

#endif
