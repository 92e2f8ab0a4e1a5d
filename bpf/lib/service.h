/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services per packet, for what skips the socket hook (raw sockets, kernel clients, sandboxes): the first packet of a client
 * picks a backend, an entry (client, VIP) keeps the choice. */
#ifndef TANDEM_LIB_SERVICE_H
#define TANDEM_LIB_SERVICE_H

#include "conntrack.h"
#include "nat.h"

static __always_inline struct service *find_service(const struct address *address, __be16 port, __u8 protocol, const bool v6)
{
	if (v6) {
		struct service6_key key = {.port = port, .protocol = protocol};

		key.address = *address;
		return bpf_map_lookup_elem(&service6, &key);
	} else {
		struct service4_key key = {.port = port, .protocol = protocol};

		key.address = *ipv4_of((struct address *)address);
		return bpf_map_lookup_elem(&service4, &key);
	}
}

/* A random backend. A slot that is just being replaced is missing for an instant: slot 0 is tried then. */
static __always_inline struct service_backend *pick_backend(const struct service *service)
{
	struct service_backend_key key = {.service = service->id};
	struct service_backend *backend;

	if (!service->backends)
		return NULL;
	key.slot = bpf_get_prandom_u32() % service->backends;
	backend = bpf_map_lookup_elem(&service_backend, &key);
	if (!backend && key.slot) {
		key.slot = 0;
		backend = bpf_map_lookup_elem(&service_backend, &key);
	}
	return backend;
}

/* If the packet goes to a service, its destination becomes a backend and `done` says what was translated. */
static __always_inline __u32 translate(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct translation *done = &context->translated;
	struct service_backend *backend;
	struct ct_entry *entry, fresh = {.flags = CT_SERVICE};
	struct service *service;
	struct address to;
	union ct_key key;
	__be16 to_port;
	__u32 now = now_seconds();
	bool low, opening = packet->protocol != IPPROTO_TCP || (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;

	if (!has_ports(packet->protocol))
		return 0;
	low = ct_key_of(packet, &key, v6);
	entry = ct_find(&key, v6);
	if (entry && !(entry->flags & CT_SERVICE)) /* a flow, not a service */
		return 0;
	service = find_service(&packet->destination, packet->destination_port, packet->protocol, v6);
	if (entry && (!opening || (service && entry->nat_id == service->id))) {
		to = entry->nat_address;
		to_port = entry->nat_port;
		done->table = entry->nat_id;
		if (entry->last_used != now)
			entry->last_used = now;
	} else {
		if (!service)
			return 0;
		backend = pick_backend(service);
		if (!backend)
			return REASON_NO_BACKEND;
		to = backend->address;
		to_port = backend->port;
		done->table = service->id;
		fresh.flags |= low ? CT_INITIATOR_LOW : 0;
		fresh.last_used = now;
		fresh.created = now;
		fresh.nat_id = service->id;
		fresh.nat_port = to_port;
		fresh.nat_address = to;
		if (ct_store(&key, &fresh, v6))
			return REASON_CT_FULL;
	}
	done->vip = packet->destination;
	done->vip_port = packet->destination_port;
	done->flags = CT_NAT;
	if (rewrite(skb, packet, NAT_DESTINATION, &to, to_port, v6))
		return REASON_NAT_FAILED;
	if (same_address(&packet->source, &packet->destination, v6)) {
		/* the pod picked itself: it must not see its own address as the peer's, or it would answer itself inside */
		if (v6)
			__builtin_memcpy(to.bytes, (const void *)config_loopback_ipv6, 16);
		else
			set_ipv4(&to, *(const volatile __be32 *)config_loopback_ipv4);
		done->flags |= CT_LOOPBACK;
		if (rewrite(skb, packet, NAT_SOURCE, &to, 0, v6))
			return REASON_NAT_FAILED;
	}
	return 0;
}

/* The reply of a translated flow shows the service's address again, and goes to the real client. */
static __always_inline __u32 translate_back(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const struct tracked *tracked = &context->tracked;

	if (!tracked->reply || !(tracked->flags & CT_NAT))
		return 0;
	if (tracked->flags & CT_LOOPBACK) {
		struct address self = packet->source;

		if (rewrite(skb, packet, NAT_DESTINATION, &self, 0, v6))
			return REASON_NAT_FAILED;
	}
	return rewrite(skb, packet, NAT_SOURCE, &tracked->nat_address, tracked->nat_port, v6);
}

static __noinline __u32 translate4(struct __sk_buff *skb, struct context *context)
{
	return translate(skb, context, false);
}

static __noinline __u32 translate6(struct __sk_buff *skb, struct context *context)
{
	return translate(skb, context, true);
}

static __noinline __u32 translate_back4(struct __sk_buff *skb, struct context *context)
{
	return translate_back(skb, context, false);
}

static __noinline __u32 translate_back6(struct __sk_buff *skb, struct context *context)
{
	return translate_back(skb, context, true);
}

#endif
