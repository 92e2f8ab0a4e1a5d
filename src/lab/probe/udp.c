// SPDX-License-Identifier: Apache-2.0
/* UDP: a server answers a token with the token and its name, from the address that was asked. Where DNS is spoken it answers questions, too. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint8_t listening[1 << 16], speaks[1 << 16];

static void listener_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	for (;;) {
		struct sockaddr_in6 peer;
		char text[512], question[512], control[256];
		struct iovec vector = {.iov_base = question, .iov_len = sizeof(question)};
		struct msghdr message = {.msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &vector, .msg_iovlen = 1,
					 .msg_control = control, .msg_controllen = sizeof(control)};
		ssize_t got = recvmsg(watch->fd, &message, 0);
		uint32_t id;

		if (got < 0)
			return;
		vector.iov_base = text;
		id = token_id(question, (size_t)got);
		if (id)
			vector.iov_len = (size_t)snprintf(text, sizeof(text), TOKEN "%u %s", id, own_name);
		else if (speaks[port_of(watch->fd)] == SPEAKS_DNS)
			vector.iov_len = dns_answer((const uint8_t *)question, (size_t)got, (uint8_t *)text, sizeof(text));
		else
			continue;
		if (!vector.iov_len)
			continue;
		/* The control data that came, IPV6_PKTINFO, is the one to send: same local address. But not the same
		 * interface: the way back is the routes' choice. */
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
			if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
				((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_ifindex = 0;
		sendmsg(watch->fd, &message, MSG_DONTWAIT);
	}
}

int udp_listen(uint16_t port, enum speech speech)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
	struct watch *watch;
	int one = 1, zero = 0;
	int fd;

	speaks[port] = (uint8_t)speech;
	if (listening[port])
		return 0;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	watch = calloc(1, sizeof(*watch));
	if (fd < 0 || !watch)
		return errno;
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) || bind(fd, (struct sockaddr *)&any, sizeof(any)))
		return errno;
	watch->ready = listener_ready;
	watch->fd = fd;
	watch_add(watch, EPOLLIN);
	listening[port] = 1;
	return 0;
}

static void ask(struct try *try)
{
	char text[64];
	int length = snprintf(text, sizeof(text), TOKEN "%u", try->id);

	if (send(try->watch.fd, text, (size_t)length, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ENOBUFS)
		refused(try, errno);
}

static void client_ready(struct watch *watch, uint32_t events)
{
	struct try *try = (struct try *)watch;
	char text[512];
	ssize_t got = recv(watch->fd, text, sizeof(text) - 1, 0);
	const char *name;

	(void)events;
	if (got < 0) {
		if (errno != EAGAIN)
			refused(try, errno);
		return;
	}
	text[got] = 0;
	name = strrchr(text, ' ');
	if (token_id(text, (size_t)got) == try->id && name)
		answered(try, name + 1);
}

bool udp_connect(struct try *try)
{
	int fd = socket(try->destination.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		failed(try, errno);
		return false;
	}
	try->watch.fd = fd;
	if (try->source.any.sa_family && bind(fd, &try->source.any, address_length(&try->source))) {
		failed(try, errno);
		return false;
	}
	if (connect(fd, &try->destination.any, address_length(&try->destination))) {
		refused(try, errno);
		return false;
	}
	return true;
}

void udp_start(struct try *try)
{
	if (!udp_connect(try))
		return;
	try->watch.ready = client_ready;
	watch_add(&try->watch, EPOLLIN);
	try->send = ask;
	ask(try);
}
