// SPDX-License-Identifier: Apache-2.0
/* ICMP and ICMPv6 of any type. An echo request is answered by the other kernel; of all other types the receiving prober tells
 * that they arrived, since nothing answers them. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

static struct watch watch4, watch6;

static bool is_request(int family, uint8_t type)
{
	return type == (family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST);
}

static bool is_reply(int family, uint8_t type)
{
	return type == (family == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
}

static bool is_error(int family, uint8_t type)
{
	if (family == AF_INET6)
		return type < 128;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB || type == ICMP_SOURCE_QUENCH;
}

static uint16_t checksum(const uint8_t *data, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* The packet that an error message speaks of: a datagram that the destination is said to have sent, which it has not. */
static size_t write_quoted(const struct try *try, uint8_t *at)
{
	struct udphdr udp = {.source = htons(9), .dest = htons(9), .len = htons(40)};
	size_t length;

	if (try->destination.any.sa_family == AF_INET) {
		struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons(60), .ttl = 64, .protocol = IPPROTO_UDP,
				   .saddr = try->destination.v4.sin_addr.s_addr, .daddr = try->source.v4.sin_addr.s_addr};

		ip.check = checksum((const uint8_t *)&ip, sizeof(ip));
		memcpy(at, &ip, length = sizeof(ip));
	} else {
		struct ip6_hdr ip = {.ip6_src = try->destination.v6.sin6_addr, .ip6_dst = try->source.v6.sin6_addr};

		ip.ip6_vfc = 6 << 4;
		ip.ip6_plen = htons(40);
		ip.ip6_nxt = IPPROTO_UDP;
		ip.ip6_hlim = 64;
		memcpy(at, &ip, length = sizeof(ip));
	}
	memcpy(at + length, &udp, sizeof(udp));
	return length + sizeof(udp);
}

static void send_message(struct try *try)
{
	int family = try->destination.any.sa_family;
	uint8_t packet[256] = {(uint8_t)try->port};
	uint16_t id = htons((uint16_t)try->id), sum;
	size_t length = 8;
	int error;

	if (is_error(family, packet[0])) {
		length += write_quoted(try, packet + length);
	} else {
		memcpy(packet + 4, &id, sizeof(id));
		packet[7] = 1;
		if (family == AF_INET && packet[0] == ICMP_TIMESTAMP)
			length += 12;
	}
	length += (size_t)snprintf((char *)packet + length, 64, TOKEN "%u", try->id);
	/* ICMPv6's covers the IP addresses: the kernel's job. */
	if (family == AF_INET) {
		sum = checksum(packet, length);
		memcpy(packet + 2, &sum, sizeof(sum));
	}
	error = raw_send(family == AF_INET ? watch4.fd : watch6.fd, &try->source, &try->destination, packet, length);
	if (error && error != EAGAIN && error != ENOBUFS)
		refused(try, error);
}

static void packet_ready(struct watch *watch, uint32_t events)
{
	int family = watch == &watch4 ? AF_INET : AF_INET6;
	struct raw_message message;

	(void)events;
	while (raw_receive(watch->fd, family, &message)) {
		uint32_t id = message.length >= 8 ? token_id(message.payload, message.length) : 0;
		struct try *try = id ? find_try(id) : NULL;

		if (!id || is_request(family, message.payload[0]))
			continue;
		/* An error that quotes our own datagram: its socket is told. */
		if (try && try->protocol != IPPROTO_ICMP)
			continue;
		if (!is_reply(family, message.payload[0]))
			say_arrived(id);
		else if (!try)
			say_arrived(id); /* an unasked reply, which is what was to be tried */
		else if (is_request(family, (uint8_t)try->port))
			answered(try, "-");
	}
}

void icmp_open(void)
{
	watch4 = (struct watch){.ready = packet_ready, .fd = raw_open(AF_INET, IPPROTO_ICMP)};
	watch6 = (struct watch){.ready = packet_ready, .fd = raw_open(AF_INET6, IPPROTO_ICMPV6)};
	watch_add(&watch4, EPOLLIN);
	watch_add(&watch6, EPOLLIN);
}

void icmp_start(struct try *try)
{
	try->protocol = IPPROTO_ICMP;
	try->send = send_message;
	send_message(try);
}
