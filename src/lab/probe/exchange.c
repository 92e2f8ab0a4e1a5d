// SPDX-License-Identifier: Apache-2.0
/* A question and its answer: bytes that the master wrote and reads, as a datagram or over TCP behind their length. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MOST_BYTES 2048

struct exchange {
	/* Bytes of the length before a message; 0: a datagram. */
	unsigned width;
	/* With its length, as the answer. */
	uint8_t question[MOST_BYTES], answer[MOST_BYTES];
	size_t question_length, answer_length;
	bool sent;
};

static void said(struct try *try)
{
	struct exchange *exchange = try->exchange;

	printf("said %u %lld ", try->id, (long long)(now_ms() - try->started_ms));
	for (size_t i = exchange->width; i < exchange->answer_length; i++)
		printf("%02x", exchange->answer[i]);
	printf("\n");
	end_try(try);
}

static void ask(struct try *try)
{
	struct exchange *exchange = try->exchange;

	if (send(try->watch.fd, exchange->question, exchange->question_length, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ENOBUFS)
		refused(try, errno);
}

static void ask_connection(struct try *try)
{
	struct exchange *exchange = try->exchange;

	/* A question into an empty socket buffer is taken whole or not at all. */
	if (write(try->watch.fd, exchange->question, exchange->question_length) != (ssize_t)exchange->question_length) {
		refused(try, errno);
		return;
	}
	exchange->sent = true;
	watch_change(&try->watch, EPOLLIN);
}

static bool is_whole(const struct exchange *exchange)
{
	return exchange->answer_length >= exchange->width &&
	       exchange->answer_length >= exchange->width + message_length(exchange->answer, exchange->width);
}

static void exchange_ready(struct watch *watch, uint32_t events)
{
	struct try *try = (struct try *)watch;
	struct exchange *exchange = try->exchange;
	ssize_t got;

	if (!exchange->sent && (events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP))) {
		ask_connection(try);
		return;
	}
	got = recv(watch->fd, exchange->answer + exchange->answer_length, sizeof(exchange->answer) - exchange->answer_length, 0);
	if (got < 0) {
		if (errno != EAGAIN)
			refused(try, errno);
		return;
	}
	exchange->answer_length += (size_t)got;
	if (is_whole(exchange))
		said(try);
	else if (got == 0 || exchange->answer_length == sizeof(exchange->answer))
		refused(try, EPROTO); /* the end before an answer */
}

static bool read_hex(const char *text, struct exchange *exchange)
{
	size_t length = strlen(text) / 2;

	if (strlen(text) % 2 || exchange->width + length > sizeof(exchange->question))
		return false;
	for (size_t i = 0; i < length; i++)
		if (sscanf(text + 2 * i, "%2hhx", &exchange->question[exchange->width + i]) != 1)
			return false;
	put_message_length(exchange->question, exchange->width, length);
	exchange->question_length = exchange->width + length;
	return true;
}

void exchange_start(struct try *try, unsigned width, const char *hex)
{
	try->exchange = calloc(1, sizeof(*try->exchange));
	if (!try->exchange) {
		failed(try, ENOMEM);
		return;
	}
	try->exchange->width = width;
	if (!read_hex(hex, try->exchange)) {
		failed(try, EINVAL);
		return;
	}
	try->watch.ready = exchange_ready;
	if (width > 0) {
		if (tcp_connect(try))
			watch_add(&try->watch, EPOLLIN | EPOLLOUT);
		return;
	}
	if (!udp_connect(try))
		return;
	watch_add(&try->watch, EPOLLIN);
	try->send = ask;
	ask(try);
}
