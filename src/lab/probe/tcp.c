// SPDX-License-Identifier: Apache-2.0
/* TCP: a server says its name and waits for the client to close; a client is answered when it has read that name. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint8_t listening[1 << 16];

static void served_ready(struct watch *watch, uint32_t events)
{
	char ignored[256];
	ssize_t got;

	(void)events;
	while ((got = read(watch->fd, ignored, sizeof(ignored))) > 0)
		;
	if (got < 0 && errno == EAGAIN)
		return;
	close(watch->fd);
	free(watch);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	for (;;) {
		int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		char line[NAME_MAX_LENGTH + 2];
		struct watch *served;
		int length;

		if (fd < 0)
			return;
		length = snprintf(line, sizeof(line), "%s\n", own_name);
		served = calloc(1, sizeof(*served));
		/* A short line into an empty socket buffer is taken whole or not at all. */
		if (!served || write(fd, line, (size_t)length) != length) {
			free(served);
			close(fd);
			continue;
		}
		served->ready = served_ready;
		served->fd = fd;
		watch_add(served, EPOLLIN | EPOLLRDHUP);
	}
}

int tcp_listen(uint16_t port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
	struct watch *watch;
	int one = 1, zero = 0;
	int fd;

	if (listening[port])
		return 0;
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	watch = calloc(1, sizeof(*watch));
	if (fd < 0 || !watch)
		return errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 512))
		return errno;
	watch->ready = listener_ready;
	watch->fd = fd;
	watch_add(watch, EPOLLIN);
	listening[port] = 1;
	return 0;
}

static void client_ready(struct watch *watch, uint32_t events)
{
	struct try *try = (struct try *)watch;
	ssize_t got;

	if (events & (EPOLLERR | EPOLLHUP)) {
		int error = 0;
		socklen_t length = sizeof(error);

		getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			refused(try, error);
			return;
		}
	}
	got = read(watch->fd, try->line + try->length, sizeof(try->line) - 1 - try->length);
	if (got < 0) {
		if (errno == EAGAIN)
			watch_change(watch, EPOLLIN); /* connected: what is missing is the name */
		else
			refused(try, errno);
		return;
	}
	try->length += (size_t)got;
	if (got == 0 || try->length == sizeof(try->line) - 1) {
		refused(try, EPROTO); /* somebody who is no prober */
		return;
	}
	if (try->line[try->length - 1] == '\n') {
		try->line[try->length - 1] = 0;
		answered(try, try->line);
	}
}

void tcp_start(struct try *try)
{
	/* Thousands of short connections must not fill the namespace with TIME_WAIT. */
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int fd = socket(try->destination.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0) {
		failed(try, errno);
		return;
	}
	try->watch.fd = fd;
	try->watch.ready = client_ready;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (try->source.any.sa_family && bind(fd, &try->source.any, address_length(&try->source))) {
		failed(try, errno);
		return;
	}
	if (connect(fd, &try->destination.any, address_length(&try->destination)) && errno != EINPROGRESS) {
		refused(try, errno);
		return;
	}
	watch_add(&try->watch, EPOLLIN | EPOLLOUT);
}
