/* SPDX-License-Identifier: MIT */
/*
 * Closing front-ends' connections that no port has taken, and sockets where such wait. What a front-end has sent lies in its connection, descriptors among it: they are closed with it, by whoever closes that,
 * and some let that wait as long as the front-end likes (a socket that lingers, say). So a thread does it that does nothing else. There is one at most for each listening
 * socket, which gives no other front-end meanwhile.
 */
#ifndef CSVN_BRAIN_CLOSER_H
#define CSVN_BRAIN_CLOSER_H

struct plane;

/* Close it. Then, if somebody is to be told, and the plane is still there: that of a port is closed, by its handle. */
void closer_close(int plane, int port, int fd, void (*closed)(struct plane *p, int port));

#endif
