// SPDX-License-Identifier: Apache-2.0
/* A server of DNS (RFC 1035) for what a run asks: addresses that names were given, and who answers, as a text (TXT) of the root. */
#define _GNU_SOURCE
#include "probe.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER = 12, TYPE_A = 1, TYPE_TXT = 16, TYPE_AAAA = 28, CLASS_IN = 1, TTL_SECONDS = 60 };

struct record {
	struct record *next;
	uint16_t type, length;
	uint8_t data[16];
	/* Without a final dot. */
	char name[];
};

static struct record *records;

bool dns_record(const char *name, const char *address)
{
	struct record *record = calloc(1, sizeof(*record) + strlen(name) + 1);
	bool is_ipv6 = strchr(address, ':');

	if (!record)
		return false;
	strcpy(record->name, name);
	record->type = is_ipv6 ? TYPE_AAAA : TYPE_A;
	record->length = is_ipv6 ? 16 : 4;
	record->next = records;
	records = record;
	return inet_pton(is_ipv6 ? AF_INET6 : AF_INET, address, record->data) == 1;
}

void dns_forget(void)
{
	while (records) {
		struct record *next = records->next;

		free(records);
		records = next;
	}
}

static uint16_t number_at(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint8_t *put(uint8_t *at, unsigned number)
{
	at[0] = (uint8_t)(number >> 8);
	at[1] = (uint8_t)number;
	return at + 2;
}

/* Behind the name that the question begins with; 0: there is none. */
static size_t read_question(const uint8_t *query, size_t length, char name[256])
{
	size_t at = HEADER, used = 0;

	while (at < length && query[at]) {
		size_t label = query[at];

		if (label > 63 || at + 1 + label >= length || used + label + 1 > 255)
			return 0;
		if (used)
			name[used++] = '.';
		memcpy(name + used, query + at + 1, label);
		used += label;
		at += 1 + label;
	}
	name[used] = 0;
	return at + 5 <= length ? at + 1 : 0;
}

static uint8_t *put_record(uint8_t *at, uint16_t type, unsigned ttl)
{
	at = put(at, type);
	at = put(at, CLASS_IN);
	at = put(at, ttl >> 16);
	return put(at, ttl & 0xffff);
}

size_t dns_answer(const uint8_t *query, size_t length, uint8_t *answer, size_t room)
{
	char name[256];
	size_t question_end = length < HEADER ? 0 : read_question(query, length, name);
	uint8_t *at = answer, *most = answer + room - (64 + NAME_MAX_LENGTH);
	unsigned count = 0;
	uint16_t type;

	if (!question_end || number_at(query + 4) != 1 || (query[2] & 0x80))
		return 0;
	type = number_at(query + question_end);
	question_end += 4;
	memcpy(answer, query, question_end);
	at += question_end;
	for (const struct record *record = records; record; record = record->next) {
		if (record->type != type || strcasecmp(record->name, name) || at > most)
			continue;
		/* The name of the question, by a pointer. */
		at = put(at, 0xc000 | HEADER);
		at = put_record(at, type, TTL_SECONDS);
		at = put(at, record->length);
		memcpy(at, record->data, record->length);
		at += record->length;
		count++;
	}
	*at++ = 0;
	at = put_record(at, TYPE_TXT, 0);
	at = put(at, (unsigned)strlen(own_name) + 1);
	*at++ = (uint8_t)strlen(own_name);
	memcpy(at, own_name, strlen(own_name));
	at += strlen(own_name);
	/* An answer, recursion available, no error. */
	put(answer + 2, 0x8180);
	put(answer + 6, count);
	put(answer + 8, 0);
	put(answer + 10, 1);
	return (size_t)(at - answer);
}
