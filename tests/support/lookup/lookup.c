/* SPDX-License-Identifier: MIT */
/* Looks names up as any program does, by the C library, and prints an address or an error for each. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
		char text[64];
		int error = getaddrinfo(argv[i], "80", &hints, &found);

		if (error) {
			printf("%s\n", gai_strerror(error));
			continue;
		}
		getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf("%s\n", text);
		freeaddrinfo(found);
	}
	return 0;
}
