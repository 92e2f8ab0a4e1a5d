// SPDX-License-Identifier: Apache-2.0
/* Raw sockets: one per family and protocol, for every message that comes and goes. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int raw_open(int family, int protocol)
{
	int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	int one = 1;
	int error;

	if (fd < 0) {
		perror("probe: raw socket");
		exit(1);
	}
	error = family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one))
				  : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	if (error) {
		perror("probe: packet information");
		exit(1);
	}
	return fd;
}

static void read_local(struct msghdr *header, union address *local)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			local->v4.sin_family = AF_INET;
			local->v4.sin_addr = ((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			local->v6.sin6_family = AF_INET6;
			local->v6.sin6_addr = ((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_addr;
		}
	}
}

bool raw_receive(int fd, int family, struct raw_message *message)
{
	_Alignas(struct cmsghdr) char control[256];
	struct iovec vector = {.iov_base = message->buffer, .iov_len = sizeof(message->buffer)};
	struct msghdr header = {.msg_name = &message->peer, .msg_namelen = sizeof(message->peer), .msg_iov = &vector,
				.msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	size_t skip = 0;
	ssize_t got;

	memset(&message->peer, 0, sizeof(message->peer));
	memset(&message->local, 0, sizeof(message->local));
	do {
		got = recvmsg(fd, &header, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return false;
	read_local(&header, &message->local);
	/* IPv4 sockets see the IP header, IPv6 ones do not. */
	if (family == AF_INET && got > 0)
		skip = (size_t)(message->buffer[0] & 15) * 4;
	if (skip > (size_t)got)
		skip = (size_t)got;
	message->payload = message->buffer + skip;
	message->length = (size_t)got - skip;
	return true;
}

int raw_send(int fd, const union address *local, const union address *peer, const void *data, size_t length)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	union address to = *peer;
	struct iovec vector = {.iov_base = (void *)data, .iov_len = length};
	struct msghdr header = {.msg_name = &to, .msg_namelen = address_length(peer), .msg_iov = &vector, .msg_iovlen = 1};
	struct cmsghdr *c;

	/* For raw sockets this field is the protocol. */
	if (to.any.sa_family == AF_INET)
		to.v4.sin_port = 0;
	else
		to.v6.sin6_port = 0;
	if (local->any.sa_family) {
		header.msg_control = control;
		header.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&header);
		if (local->any.sa_family == AF_INET) {
			struct in_pktinfo info = {.ipi_spec_dst = local->v4.sin_addr};

			*c = (struct cmsghdr){CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO};
			memcpy(CMSG_DATA(c), &info, sizeof(info));
			header.msg_controllen = CMSG_SPACE(sizeof(info));
		} else {
			struct in6_pktinfo info = {.ipi6_addr = local->v6.sin6_addr};

			*c = (struct cmsghdr){CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO};
			memcpy(CMSG_DATA(c), &info, sizeof(info));
		}
	}
	return sendmsg(fd, &header, MSG_DONTWAIT) < 0 ? errno : 0;
}
