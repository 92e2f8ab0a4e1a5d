// SPDX-License-Identifier: Apache-2.0
/* SCTP without a kernel's SCTP: INIT, answered by INIT ACK on the ports that are served and by ABORT on all others (RFC 9260,
 * sections 3.3.2, 3.3.3, 3.3.7, 8.4). No association comes of it: the first answer shows that both directions are open. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

enum { CHUNK_INIT = 1, CHUNK_INIT_ACK = 2, CHUNK_ABORT = 6, PARAMETER_COOKIE = 7, FLAG_TAG_REFLECTED = 1 };

struct header {
	uint16_t source, destination;
	uint32_t tag, checksum;
	uint8_t type, flags;
	uint16_t chunk_length;
} __attribute__((packed));

struct init {
	struct header header;
	uint32_t initiate_tag, window;
	uint16_t outbound, inbound;
	uint32_t sequence;
} __attribute__((packed));

static uint8_t listening[1 << 16];
static struct watch watch4, watch6;

/* CRC32c, bit by bit: packets are few and short. */
static uint32_t crc32c(const uint8_t *data, size_t length)
{
	uint32_t crc = ~0u;

	while (length--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static int transmit(const union address *local, const union address *peer, struct header *header, size_t length)
{
	header->checksum = 0;
	/* RFC 9260, appendix A: the value goes out with its least significant byte first. */
	header->checksum = htole32(crc32c((const uint8_t *)header, length));
	return raw_send(peer->any.sa_family == AF_INET ? watch4.fd : watch6.fd, local, peer, header, length);
}

static void send_init(struct try *try)
{
	struct init init = {
		.header = {.source = htons((uint16_t)(1024 + try->id % 60000)), .destination = htons(try->port),
			   .type = CHUNK_INIT, .chunk_length = htons(20)},
		.initiate_tag = htonl(try->id), .window = htonl(65536), .outbound = htons(1), .inbound = htons(1),
		.sequence = htonl(try->id),
	};
	int error = transmit(&try->source, &try->destination, &init.header, sizeof(init));

	if (error && error != EAGAIN && error != ENOBUFS)
		refused(try, error);
}

static void answer_init(const struct raw_message *message, const struct init *init)
{
	struct {
		struct init init;
		uint16_t type, length;
		char name[NAME_MAX_LENGTH + 4];
	} __attribute__((packed)) reply = {.init = *init};
	size_t name_length = strlen(own_name);
	size_t padded = (name_length + 3) & ~(size_t)3;

	reply.init.header.source = init->header.destination;
	reply.init.header.destination = init->header.source;
	reply.init.header.tag = init->initiate_tag;
	if (!listening[ntohs(init->header.destination)]) {
		reply.init.header.type = CHUNK_ABORT;
		reply.init.header.flags = 0;
		reply.init.header.chunk_length = htons(4);
		transmit(&message->local, &message->peer, &reply.init.header, sizeof(struct header));
		return;
	}
	reply.init.header.type = CHUNK_INIT_ACK;
	reply.init.header.chunk_length = htons((uint16_t)(20 + 4 + name_length));
	reply.type = htons(PARAMETER_COOKIE);
	reply.length = htons((uint16_t)(4 + name_length));
	memcpy(reply.name, own_name, name_length);
	transmit(&message->local, &message->peer, &reply.init.header, sizeof(struct init) + 4 + padded);
}

static void answered_by(const struct raw_message *message, const struct header *header)
{
	struct try *try = find_try(ntohl(header->tag));
	char name[NAME_MAX_LENGTH + 1];
	size_t length;

	/* What is no answer to our INIT, by its ports, is somebody else's. */
	if (!try || try->protocol != IPPROTO_SCTP || ntohs(header->source) != try->port)
		return;
	if (header->type == CHUNK_ABORT) {
		refused(try, ECONNREFUSED);
		return;
	}
	if (message->length < sizeof(struct init) + 4)
		return;
	length = (size_t)ntohs(header->chunk_length) - 24;
	if (length > NAME_MAX_LENGTH || message->length < sizeof(struct init) + 4 + length)
		return;
	memcpy(name, message->payload + sizeof(struct init) + 4, length);
	name[length] = 0;
	answered(try, name);
}

static void packet_ready(struct watch *watch, uint32_t events)
{
	struct raw_message message;

	(void)events;
	while (raw_receive(watch->fd, watch == &watch4 ? AF_INET : AF_INET6, &message)) {
		struct header *header = (struct header *)message.payload;
		uint32_t checksum;

		if (message.length < sizeof(*header))
			continue;
		checksum = header->checksum;
		header->checksum = 0;
		if (checksum != htole32(crc32c(message.payload, message.length)))
			continue;
		if (header->type == CHUNK_INIT && message.length >= sizeof(struct init))
			answer_init(&message, (const struct init *)message.payload);
		else if (header->type == CHUNK_INIT_ACK || header->type == CHUNK_ABORT)
			answered_by(&message, header);
	}
}

void sctp_open(void)
{
	watch4 = (struct watch){.ready = packet_ready, .fd = raw_open(AF_INET, IPPROTO_SCTP)};
	watch6 = (struct watch){.ready = packet_ready, .fd = raw_open(AF_INET6, IPPROTO_SCTP)};
	watch_add(&watch4, EPOLLIN);
	watch_add(&watch6, EPOLLIN);
}

int sctp_listen(uint16_t port)
{
	listening[port] = 1;
	return 0;
}

void sctp_start(struct try *try)
{
	try->protocol = IPPROTO_SCTP;
	try->send = send_init;
	send_init(try);
}
