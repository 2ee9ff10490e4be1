/* SPDX-License-Identifier: MIT */
/*
 * Closing front-ends' connections that no port has taken, and sockets where such wait. What a front-end has sent lies in its connection, descriptors among it: they are closed with it, by whoever closes that,
 * and some let that wait as long as the front-end likes (a socket that lingers, say). So a thread does it that does nothing else. There is one at most for each listening
 * socket, which gives no other front-end meanwhile.
 */
#ifndef CSVN_BRAIN_CLOSER_H
#define CSVN_BRAIN_CLOSER_H

/* Close a connection. Then that of a port, if it is one's, is told to the plane, if that is still there: port_closed(). */
void closer_close(int plane, int port, int fd);

#endif
