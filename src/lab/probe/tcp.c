// SPDX-License-Identifier: Apache-2.0
/* TCP: a server says its name and waits for the client to close; a client is answered when it has read that name. Where a protocol is spoken the name is
 * in every answer. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint8_t listening[1 << 16], speaks[1 << 16];

/* A connection of a client. */
struct served {
	struct watch watch;
	enum speech speech;
	/* Where HTTP is spoken: of the end of a head, what has come. */
	size_t matched;
	bool is_head;
	bool begun;
	/* Where messages follow their length: what has come of one. */
	uint8_t message[1024];
	size_t length;
};

static bool answer_request(struct served *served)
{
	char answer[256 + NAME_MAX_LENGTH];
	int length = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s%s",
			      strlen(own_name) + 1, served->is_head ? "" : own_name, served->is_head ? "" : "\n");

	served->begun = false;
	return write(served->watch.fd, answer, (size_t)length) == length;
}

/* Requests have no bodies: an empty line ends each. False: the connection is of no use any more. */
static bool take_request(struct served *served, const char *bytes, size_t length)
{
	static const char end[] = "\r\n\r\n";

	for (size_t i = 0; i < length; i++) {
		if (!served->begun) {
			served->begun = true;
			served->is_head = bytes[i] == 'H';
		}
		served->matched = bytes[i] == end[served->matched] ? served->matched + 1 : bytes[i] == '\r';
		if (served->matched < 4)
			continue;
		served->matched = 0;
		if (!answer_request(served))
			return false;
	}
	return true;
}

/* False: the connection is of no use any more. */
static bool take_messages(struct served *served, const char *bytes, size_t length)
{
	const unsigned width = served->speech == SPEAKS_DNS ? 2 : 4;
	uint8_t answer[1024];

	for (size_t i = 0; i < length; i++) {
		size_t whole, answered;

		served->message[served->length++] = (uint8_t)bytes[i];
		if (served->length < width)
			continue;
		whole = width + message_length(served->message, width);
		if (whole > sizeof(served->message))
			return false;
		if (served->length < whole)
			continue;
		served->length = 0;
		answered = (width == 2 ? dns_answer : kafka_answer)(served->message + width, whole - width, answer + width, sizeof(answer) - width);
		if (!answered)
			return false;
		put_message_length(answer, width, answered);
		if (write(served->watch.fd, answer, width + answered) != (ssize_t)(width + answered))
			return false;
	}
	return true;
}

static bool take(struct served *served, const char *bytes, size_t length)
{
	if (served->speech == SPEAKS_NAME)
		return true;
	return served->speech == SPEAKS_HTTP ? take_request(served, bytes, length) : take_messages(served, bytes, length);
}

static void served_ready(struct watch *watch, uint32_t events)
{
	struct served *served = (struct served *)watch;
	char bytes[1024];
	ssize_t got;

	(void)events;
	while ((got = read(watch->fd, bytes, sizeof(bytes))) > 0) {
		if (!take(served, bytes, (size_t)got))
			break;
	}
	if (got < 0 && errno == EAGAIN)
		return;
	close(watch->fd);
	free(served);
}

uint16_t port_of(int fd)
{
	struct sockaddr_in6 own;
	socklen_t length = sizeof(own);

	return getsockname(fd, (struct sockaddr *)&own, &length) ? 0 : ntohs(own.sin6_port);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	for (;;) {
		int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		char line[NAME_MAX_LENGTH + 2];
		struct served *served;
		int length;

		if (fd < 0)
			return;
		length = snprintf(line, sizeof(line), "%s\n", own_name);
		served = calloc(1, sizeof(*served));
		if (served)
			served->speech = speaks[port_of(fd)];
		/* A short line into an empty socket buffer is taken whole or not at all. */
		if (!served || (served->speech == SPEAKS_NAME && write(fd, line, (size_t)length) != length)) {
			free(served);
			close(fd);
			continue;
		}
		served->watch.ready = served_ready;
		served->watch.fd = fd;
		watch_add(&served->watch, EPOLLIN | EPOLLRDHUP);
	}
}

int tcp_listen(uint16_t port, enum speech speech)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
	struct watch *watch;
	int one = 1, zero = 0;
	int fd;

	speaks[port] = (uint8_t)speech;
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

bool tcp_connect(struct try *try)
{
	/* Thousands of short connections must not fill the namespace with TIME_WAIT. */
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int fd = socket(try->destination.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0) {
		failed(try, errno);
		return false;
	}
	try->watch.fd = fd;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (try->source.any.sa_family && bind(fd, &try->source.any, address_length(&try->source))) {
		failed(try, errno);
		return false;
	}
	if (connect(fd, &try->destination.any, address_length(&try->destination)) && errno != EINPROGRESS) {
		refused(try, errno);
		return false;
	}
	return true;
}

void tcp_start(struct try *try)
{
	if (!tcp_connect(try))
		return;
	try->watch.ready = client_ready;
	watch_add(&try->watch, EPOLLIN | EPOLLOUT);
}

static void opened(struct watch *watch, uint32_t events)
{
	struct try *try = (struct try *)watch;
	int error = 0;
	socklen_t length = sizeof(error);

	(void)events;
	getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error)
		refused(try, error);
	else
		answered(try, "-");
}

void tcp_start_open(struct try *try)
{
	if (!tcp_connect(try))
		return;
	try->watch.ready = opened;
	watch_add(&try->watch, EPOLLOUT);
}
