// SPDX-License-Identifier: Apache-2.0
// What tests of real traffic need and ip(8) cannot do.
//   tunnel NETNS1 DEVICE1 NETNS2 DEVICE2   makes a TUN device (no Ethernet header) in each namespace and carries packets between them
//   frame DEVICE HEX                       sends one frame as it is, from the namespace it runs in
//   packets                                sends IP packets, a line of hex each on stdin, to where routes lead
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_tun(const char *netns, const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int ns = open(netns, O_RDONLY), tun;

	if (ns < 0 || setns(ns, CLONE_NEWNET))
		fail(netns);
	close(ns);
	tun = open("/dev/net/tun", O_RDWR);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request))
		fail(name);
	return tun;
}

static int tunnel(char **arguments)
{
	struct pollfd ends[2] = {
		{.fd = open_tun(arguments[0], arguments[1]), .events = POLLIN},
		{.fd = open_tun(arguments[2], arguments[3]), .events = POLLIN},
	};
	static char packet[65536];

	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(ends, 2, -1) < 0)
			fail("poll");
		for (int i = 0; i < 2; i++) {
			ssize_t length = ends[i].revents & POLLIN ? read(ends[i].fd, packet, sizeof(packet)) : 0;

			if (length > 0 && write(ends[!i].fd, packet, length) < 0 && errno != EIO && errno != EINVAL)
				fail("write");
		}
	}
}

static int frame(const char *device, const char *hex)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device)};
	static unsigned char bytes[65536];
	size_t length = 0;
	unsigned int byte;
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0));

	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		bytes[length++] = byte;
	if (fd < 0 || sendto(fd, bytes, length, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail(device);
	return 0;
}

static int packets(void)
{
	static char line[131072];
	static unsigned char bytes[65536];
	int fd4 = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), fd6 = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);

	if (fd4 < 0 || fd6 < 0)
		fail("raw socket");
	while (fgets(line, sizeof(line), stdin)) {
		struct sockaddr_in to4 = {.sin_family = AF_INET};
		struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
		unsigned int byte;
		size_t length = 0;
		ssize_t sent;

		for (const char *hex = line; sscanf(hex, "%2x", &byte) == 1; hex += 2)
			bytes[length++] = byte;
		if (length < 40)
			continue;
		memcpy(&to4.sin_addr, bytes + 16, 4);
		memcpy(&to6.sin6_addr, bytes + 24, 16);
		sent = bytes[0] >> 4 == 6 ? sendto(fd6, bytes, length, 0, (struct sockaddr *)&to6, sizeof(to6))
					  : sendto(fd4, bytes, length, 0, (struct sockaddr *)&to4, sizeof(to4));
		if (sent < 0 && errno != ENOBUFS)
			fail("sendto");
	}
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 6 && !strcmp(arguments[1], "tunnel"))
		return tunnel(arguments + 2);
	if (count == 4 && !strcmp(arguments[1], "frame"))
		return frame(arguments[2], arguments[3]);
	if (count == 2 && !strcmp(arguments[1], "packets"))
		return packets();
	fprintf(stderr, "usage: %s tunnel NETNS DEVICE NETNS DEVICE | frame DEVICE HEX | packets\n", arguments[0]);
	return 2;
}
