/* SPDX-License-Identifier: MIT */
/* Addresses, to and from the system's form. */
#ifndef CSVN_ADDRESS_H
#define CSVN_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "csvn/abi.h"

/* The length, or -EAFNOSUPPORT, -EINVAL. */
int address_to_system(const struct csvn_host_address *a, struct sockaddr_storage *out);
int address_from_system(const struct sockaddr_storage *a, struct csvn_host_address *out);
/* The same, and IPv4-mapped ones as IPv4. */
int address_unmapped(const struct sockaddr_storage *a, struct csvn_host_address *out);
/* Of whatever scope. */
bool address_same(const struct csvn_host_address *a, const struct csvn_host_address *b);

#endif
