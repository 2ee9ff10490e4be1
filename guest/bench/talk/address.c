// SPDX-License-Identifier: MIT
/* Addresses of several families, and sockets there. */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "talk.h"

#define PATIENCE_S 20
#define VMADDR_CID_HOST_MAX 2u /* CIDs above are guests */

static void bad(const char *text)
{
	fprintf(stderr, "%s is no address: tcp:ADDRESS:PORT, vsock:CID:PORT or unix:PATH\n", text);
	exit(2);
}

struct place parse_place(const char *text)
{
	struct place p = { .length = 0 };
	char host[64];
	unsigned cid;
	int port;

	if (sscanf(text, "tcp:%63[0-9.]:%d", host, &port) == 2) {
		struct sockaddr_in *in = (struct sockaddr_in *)&p.storage;

		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			bad(text);
		p.length = sizeof(*in);
	} else if (sscanf(text, "vsock:%u:%d", &cid, &port) == 2) {
		struct sockaddr_vm *vm = (struct sockaddr_vm *)&p.storage;

		vm->svm_family = AF_VSOCK;
		vm->svm_cid = cid;
		vm->svm_port = (unsigned)port;
		/* Another guest is reached by way of the host. */
		if (cid > VMADDR_CID_HOST_MAX && cid != VMADDR_CID_ANY)
			vm->svm_flags = VMADDR_FLAG_TO_HOST;
		p.length = sizeof(*vm);
	} else if (strncmp(text, "unix:", 5) == 0) {
		struct sockaddr_un *un = (struct sockaddr_un *)&p.storage;

		un->sun_family = AF_UNIX;
		if (strlen(text + 5) >= sizeof(un->sun_path))
			bad(text);
		strcpy(un->sun_path, text + 5);
		p.length = sizeof(*un);
	} else {
		bad(text);
	}
	return p;
}

static int make(const struct place *p)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int one = 1, fd = socket(p->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must("socket", fd >= 0);
	must("SO_RCVTIMEO", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
	must("SO_SNDTIMEO", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0);
	if (p->any.sa_family == AF_INET)
		must("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	return fd;
}

int connect_to(const struct place *p)
{
	int fd = make(p);

	must("connect", connect(fd, &p->any, p->length) == 0);
	return fd;
}

int listen_at(const struct place *p)
{
	struct timeval forever = { 0 };
	int one = 1, fd = make(p);

	must("SO_RCVTIMEO", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever)) == 0);
	must("SO_REUSEADDR", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	if (p->any.sa_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)&p->storage)->sun_path);
	must("bind", bind(fd, &p->any, p->length) == 0);
	must("listen", listen(fd, 128) == 0);
	return fd;
}
