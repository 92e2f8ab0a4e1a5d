// SPDX-License-Identifier: Apache-2.0
/* The register of tries, and what is said of them. */
#define _GNU_SOURCE
#include "probe.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How often a message without an answer is sent again: a lost packet must not look like a verdict. */
#define RESEND_MS 400

static struct try *tries;

socklen_t address_length(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static bool parse_address(const char *text, uint16_t port, union address *address)
{
	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(port);
		return true;
	}
	return !strcmp(text, "-");
}

struct try *new_try(uint32_t id, const char *source, const char *destination, unsigned port)
{
	struct try *try = calloc(1, sizeof(*try));

	if (!try)
		die("calloc");
	try->watch.fd = -1;
	try->id = id;
	try->port = (uint16_t)port;
	try->started_ms = now_ms();
	try->next_send_ms = try->started_ms + RESEND_MS;
	try->next = tries;
	tries = try;
	if (!parse_address(source, 0, &try->source) || !parse_address(destination, (uint16_t)port, &try->destination) ||
	    !try->destination.any.sa_family) {
		failed(try, EINVAL);
		return NULL;
	}
	return try;
}

bool any_try(void)
{
	return tries != NULL;
}

struct try *find_try(uint32_t id)
{
	struct try *try;

	for (try = tries; try; try = try->next)
		if (try->id == id && !try->done)
			return try;
	return NULL;
}

uint32_t token_id(const void *payload, size_t length)
{
	const size_t token_length = sizeof(TOKEN) - 1;
	const char *found = memmem(payload, length, TOKEN, token_length);
	const char *end = (const char *)payload + length;
	uint32_t id = 0;

	if (!found)
		return 0;
	for (found += token_length; found < end && *found >= '0' && *found <= '9'; found++)
		id = id * 10 + (uint32_t)(*found - '0');
	return id;
}

/* Only marked: the loop frees it, since more events for it may be in the batch at hand. */
void end_try(struct try *try)
{
	try->done = true;
	if (try->watch.fd >= 0)
		close(try->watch.fd);
	try->watch.fd = -1;
}

void answered(struct try *try, const char *name)
{
	printf("answer %u %lld %s\n", try->id, (long long)(now_ms() - try->started_ms), name);
	end_try(try);
}

void refused(struct try *try, int error)
{
	printf("refused %u %s\n", try->id, strerrorname_np(error));
	end_try(try);
}

void failed(struct try *try, int error)
{
	printf("failed %u %s\n", try->id, strerrorname_np(error));
	end_try(try);
}

void say_arrived(uint32_t id)
{
	printf("arrived %u\n", id);
}

void sweep_tries(bool all)
{
	struct try **link = &tries;

	while (*link) {
		struct try *try = *link;

		if (!all && !try->done) {
			link = &try->next;
			continue;
		}
		if (!try->done)
			end_try(try);
		*link = try->next;
		free(try->exchange);
		free(try);
	}
}

void resend_tries(void)
{
	int64_t now = now_ms();
	struct try *try;

	for (try = tries; try; try = try->next) {
		if (try->done || !try->send || try->next_send_ms > now)
			continue;
		try->next_send_ms = now + RESEND_MS;
		try->send(try);
	}
}
