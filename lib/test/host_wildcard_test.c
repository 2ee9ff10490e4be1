/* SPDX-License-Identifier: MIT */
/*
 * A published datagram port that is bound to any address of the host: what the guest answers leaves from the address that was asked, as the last
 * datagram of that source came; for IPv4, for IPv6 and its link-local addresses. A group that was asked is nothing to send from. Errors of other
 * answers hide no question.
 *
 * The addresses are those of a network namespace of the test's own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "address.h"
#include "datagram.h"
#include "datagram_circuit.h"
#include "port_client.h"

#define RING (128u << 10)
#define BYTES (3u * CSVN_PAGE + 2u * RING)
#define ROUNDS 30u
#define ARENA 1 /* numbers */
#define CIRCUIT 5
#define PATIENCE_MS 20000

/* As linux/ipv6.h has it, which does not go with netinet/in.h. */
struct in6_address_request {
	struct in6_addr address;
	uint32_t prefix;
	int interface;
};

static struct client client;
static uint8_t *memory;

/* A guest's end of a published port's circuit. */
struct published {
	int circuit;
	struct csvn_end end;
};

static struct csvn_host_address parse(const char *text, uint32_t port)
{
	struct csvn_host_address a = { .family = strchr(text, ':') ? 6 : 4, .port = port };

	CHECK(inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.ip) == 1);
	if (strncmp(text, "fe80", 4) == 0)
		a.scope = if_nametoindex("lo");
	if (strncmp(text, "ff02", 4) == 0)
		a.scope = if_nametoindex("veth0");
	return a;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void bring_up(const char *name)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { 0 };

	memcpy(r.ifr_name, name, strlen(name));
	CHECK(fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0);
	r.ifr_flags |= IFF_UP;
	CHECK(ioctl(fd, SIOCSIFFLAGS, &r) == 0);
	close(fd);
}

/* lo has no groups: a cable with both ends here has, veth0 and veth1. */
static void add_cable(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr info, kind;
		char veth[4];
	} request = { { .nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_NEWLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK },
		      { .ifi_family = AF_UNSPEC },
		      { RTA_LENGTH(RTA_LENGTH(sizeof(request.veth))), IFLA_LINKINFO },
		      { RTA_LENGTH(sizeof(request.veth)), IFLA_INFO_KIND },
		      { 'v', 'e', 't', 'h' } };
	struct {
		struct nlmsghdr header;
		struct nlmsgerr result;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	CHECK(fd >= 0 && send(fd, &request, sizeof(request), 0) == sizeof(request));
	CHECK(recv(fd, &answer, sizeof(answer), 0) >= (ssize_t)sizeof(answer) && answer.result.error == 0);
	close(fd);
	bring_up("veth0");
	bring_up("veth1");
}

/* A network with lo and that cable, and these addresses of it. Without rights, as the owner of a user namespace. */
static void enter_namespace(const char *const *six)
{
	int fd;

	CHECK(unshare(CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)) == 0);
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
	bring_up("lo");
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	for (; *six; six++) {
		struct in6_address_request r = { .prefix = strncmp(*six, "fe80", 4) ? 128 : 64,
						 .interface = (int)if_nametoindex("lo") };

		CHECK(inet_pton(AF_INET6, *six, &r.address) == 1);
		CHECK(ioctl(fd, SIOCSIFADDR, &r) == 0);
	}
	close(fd);
	add_cable();
}

/* A socket at an address, and its port, if that was 0. */
static int bound(struct csvn_host_address *a)
{
	struct sockaddr_storage name;
	socklen_t length = (socklen_t)address_to_system(a, &name);
	int fd = socket(name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, length) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&name, &length) == 0 && address_from_system(&name, a) == 0);
	return fd;
}

static void ring(const struct published *port)
{
	datagram_doorbell(&client.port, port->circuit);
	client_turn(&client);
}

static struct published publish(const struct csvn_host_address *any)
{
	struct csvn_host_setup s = { .id = 4,
				     .arena = ARENA,
				     .ring_size = RING,
				     .own_control = CSVN_PAGE,
				     .peer_control = 2 * CSVN_PAGE,
				     .tx_ring = 3 * CSVN_PAGE,
				     .rx_ring = 3 * CSVN_PAGE + RING,
				     .connection = -1,
				     .remote = *any };
	struct published port;

	memset(memory, 0, BYTES);
	csvn_end_init(&port.end, (void *)(memory + s.peer_control), (void *)(memory + s.own_control),
		      memory + s.rx_ring, memory + s.tx_ring, RING);
	port.circuit = CIRCUIT;
	client_command(&client, CSVN_COMMAND_DATAGRAM_OPEN, CIRCUIT, 0, &s, sizeof(s));
	CHECK(client_await(&client, CSVN_EVENT_HOST_CONNECTED).header.aux == 0);
	return port;
}

static void permit(const struct published *port, const struct csvn_host_address *a)
{
	struct csvn_host_permit rule = { .guest = *a, .actual = *a, .allowed = 1, .number = a->port };

	/* The guest knows no interfaces of the host's. */
	rule.guest.scope = 0;
	CHECK(client_ask(&client, CSVN_COMMAND_DATAGRAM_PERMIT, port->circuit, 0, &rule, sizeof(rule)) == 0);
}

static void guest_sends(struct published *port, const struct csvn_host_address *to, uint32_t number)
{
	struct {
		struct csvn_datagram d;
		uint32_t number;
	} frame = { { .size = sizeof(number), .family = (uint8_t)to->family, .port = (uint16_t)to->port }, number };
	struct iovec iov[2];
	uint32_t room;

	memcpy(frame.d.ip, to->ip, sizeof(to->ip));
	CHECK(csvn_tx_room(&port->end, RING, &room) == 0 && room >= frame_bytes(sizeof(number)));
	(void)ring_pieces(port->end.tx, RING, port->end.tail, sizeof(frame), iov);
	memcpy(iov[0].iov_base, &frame, iov[0].iov_len);
	memcpy(iov[1].iov_base, (uint8_t *)&frame + iov[0].iov_len, iov[1].iov_len);
	csvn_tx_publish(&port->end, frame_bytes(sizeof(number)));
	ring(port);
}

/* The next datagram for the guest. */
static bool guest_hears(struct published *port, uint32_t *number)
{
	uint8_t bytes[sizeof(struct csvn_datagram) + sizeof(*number)];
	struct csvn_datagram d;
	struct iovec iov[2];
	uint32_t ready;

	do {
		CHECK(csvn_rx_ready(&port->end, RING, &ready) == 0);
		if (!ready)
			return false;
		(void)ring_pieces(port->end.rx, RING, port->end.head, sizeof(bytes), iov);
		memcpy(bytes, iov[0].iov_base, iov[0].iov_len);
		memcpy(bytes + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
		memcpy(&d, bytes, sizeof(d));
		memcpy(number, bytes + sizeof(d), sizeof(*number));
		csvn_rx_release(&port->end, frame_bytes(d.size));
	} while (d.error);
	return true;
}

/* One question, and its answer: whether it came, and from where. */
static bool ask(struct published *port, int fd, const struct csvn_host_address *own, const struct csvn_host_address *to,
		uint32_t number, struct csvn_host_address *from)
{
	struct sockaddr_storage name;
	socklen_t length = (socklen_t)address_to_system(to, &name);
	struct pollfd answered = { .fd = fd, .events = POLLIN };
	uint32_t heard;

	CHECK(sendto(fd, &number, sizeof(number), 0, (struct sockaddr *)&name, length) == sizeof(number));
	for (uint32_t i = 0; !guest_hears(port, &heard); i++) {
		CHECK(i < PATIENCE_MS);
		/* As the brain does, when it is asked. */
		permit(port, own);
		usleep(1000);
	}
	CHECK(heard == number);
	guest_sends(port, own, number + 1);
	if (poll(&answered, 1, PATIENCE_MS) != 1)
		return false;
	length = sizeof(name);
	CHECK(recvfrom(fd, &heard, sizeof(heard), 0, (struct sockaddr *)&name, &length) == sizeof(heard));
	return heard == number + 1 && address_from_system(&name, from) == 0;
}

/* One source asks one address after the other, and others ask meanwhile. */
static void test_family(const char *any, const char *const *asked, const char *const *asking)
{
	struct csvn_host_address here = parse(any, 0), dead = parse(asking[0], 0), group = parse("ff02::1", 0), from;
	struct csvn_host_address own[2] = { parse(asking[0], 0), parse(asking[1], 0) };
	int fd[2] = { bound(&own[0]), bound(&own[1]) };
	uint32_t count = 0;
	struct published port;

	close(bound(&dead));
	close(bound(&here));
	port = publish(&here);
	permit(&port, &dead);
	while (asked[count])
		count++;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct csvn_host_address to = parse(asked[test_below(count)], here.port);
		uint32_t who = test_below(2);

		guest_sends(&port, &dead, 0);
		CHECK(ask(&port, fd[who], &own[who], &to, 2 * i, &from));
		if (!address_same(&from, &to)) {
			char text[2][INET6_ADDRSTRLEN];
			int family = to.family == 4 ? AF_INET : AF_INET6;

			fprintf(stderr, "%s was asked, and %s has answered\n",
				inet_ntop(family, to.ip, text[0], sizeof(text[0])),
				inet_ntop(family, from.ip, text[1], sizeof(text[1])));
			exit(1);
		}
	}
	group.port = here.port;
	CHECK(here.family == 4 || own[1].scope || ask(&port, fd[1], &own[1], &group, 1000, &from));
	for (int i = 0; i < 2; i++)
		close(fd[i]);
	client_command(&client, CSVN_COMMAND_HOST_CLOSE, port.circuit, 0, NULL, 0);
	client.count = 0;
}

int main(int argc, char **argv)
{
	static const char *const addresses[] = {
		"fd77:98::1", "fd77:98::2", "fd77:98::3", "fe80::98", "fe80::99", NULL
	};
	static const char *const four[] = { "127.77.98.1", "127.77.98.2", "127.77.98.3", NULL };
	static const char *const six[] = { "fd77:98::1", "fd77:98::2", "fd77:98::3", "::1", NULL };
	static const char *const link[] = { "fe80::98", "fe80::99", "fd77:98::2", NULL };
	static const char *const asking[][2] = { { "127.0.0.1", "127.77.98.9" },
						 { "::1", "fd77:98::3" },
						 { "fd77:98::3", "fe80::99" } };
	int fd;

	test_seed(argc, argv);
	enter_namespace(addresses);
	client_open(&client, -1);
	fd = memfd_create("arena", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
	client_map(&client, ARENA, fd, BYTES);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	test_family("0.0.0.0", four, asking[0]);
	test_family("::", six, asking[1]);
	test_family("::", link, asking[2]);
	CHECK(munmap(memory, BYTES) == 0);
	client_close(&client);
	return 0;
}
