/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services per packet, for what skips the socket hook (raw sockets, kernel clients, sandboxes) and for clients outside of the node: the first
 * packet of a client picks a backend, an entry (client, VIP) keeps the choice. */
#ifndef TANDEM_LIB_SERVICE_H
#define TANDEM_LIB_SERVICE_H

#include "backend.h"
#include "conntrack.h"
#include "nat.h"
#include "service_count.h"

/* Every path takes packets of this length (RFC 8200 5). */
#define DSR_LENGTH_MAX 1280

static __always_inline struct service *find_service(const struct packet *packet, __u32 scope, const bool v6)
{
	const struct address *address = &packet->destination;
	const __be16 port = packet->destination_port;

	if (v6) {
		struct service6_key key = {.port = port, .protocol = packet->protocol, .scope = scope};

		key.address = *address;
		return bpf_map_lookup_elem(&service6, &key);
	} else {
		struct service4_key key = {.port = port, .protocol = packet->protocol, .scope = scope};

		key.address = *ipv4_of((struct address *)address);
		return bpf_map_lookup_elem(&service4, &key);
	}
}

/* Nobody at all serves what the packet goes to, on no node: its sender is told so. */
static __always_inline bool has_nobody(const struct packet *packet, const bool v6)
{
	const struct service *service = find_service(packet, SCOPE_INSIDE, v6);

	return service && !service->backends;
}

/* A flow whose packets need not be compared with the services: its other end answered, or it is a connection under way. */
static __always_inline bool is_settled(const struct ct_entry *entry, const struct packet *packet)
{
	return entry && !(entry->flags & CT_SERVICE) &&
	       (packet->protocol == IPPROTO_TCP ? !is_opening(packet) : entry->flags & CT_REPLIED);
}

/* Writes the backend of a new choice into `fresh`; false: there is none. */
static __always_inline bool choose_backend(const struct context *context, struct service *service, struct ct_entry *fresh,
					   const bool v6)
{
	const struct packet *packet = &context->packet;
	const __u32 now = context->now;
	struct affinity_key key = {.port = packet->destination_port, .protocol = packet->protocol, .kind = AFFINITY_ADDRESS};
	const bool affine = service->flags & SERVICE_AFFINITY;
	const __u32 salt = affine ? 0 : packet->source_port;
	struct service_backend *backend;
	struct affinity *kept;

	key.client = packet->source;
	key.service = packet->destination;
	if (affine) {
		kept = kept_backend(&key, service, service->affinity_seconds, now);
		if (kept) {
			fresh->nat_address = kept->address;
			fresh->nat_port = kept->port;
			fresh->nat_id = service->id;
			return true;
		}
	}
	backend = new_backend(service, &key, salt);
	if (!backend) { /* none, or the service has just got another table: then the old one's slots are gone */
		service = find_service(packet, context->scope, v6);
		backend = service ? new_backend(service, &key, salt) : NULL;
		if (!backend)
			return false;
	}
	fresh->nat_address = backend->address;
	fresh->nat_port = backend->port;
	fresh->nat_id = service->id;
	if (affine)
		keep_backend(&key, service, backend, now);
	return true;
}

/* It can take the service's address along: packets that are to begin a flow must. */
static __always_inline bool may_carry(const struct __sk_buff *skb, const struct packet *packet, const bool v6)
{
	const __u32 outer = !config_dsr_tunnel ? 0 : v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	const __u32 room = outer + (v6 ? sizeof(struct dsr6_header) : sizeof(struct dsr4_option));

	return !skb->gso_size && packet->l3_length && packet->l3_length + room <= DSR_LENGTH_MAX &&
	       !(packet->flags & PACKET_LATER_FRAGMENT) && (v6 || packet->l4 - packet->l3 == sizeof(struct iphdr));
}

/* A pod or node of the cluster. */
static __always_inline bool is_of_cluster(const struct address *address, const bool v6)
{
	struct ipcache_value who;

	identify(&who, address, v6);
	return who.identity != (v6 ? ID_WORLD_IPV6 : ID_WORLD_IPV4);
}

/* The backend's node answers the client itself: it knows the flow, or is told of the service with this packet. Not a client inside of the cluster,
 * who asked a port of this node: the backend may be on its own node, which takes nothing of its own addresses from outside. */
static __always_inline bool returns_directly(const struct __sk_buff *skb, const struct packet *packet, const struct service *service,
					     const struct address *backend, const bool v6)
{
	if (!(service->flags & SERVICE_DSR) || is_of_node(backend, v6) || is_of_cluster(&packet->source, v6))
		return false;
	return (packet->protocol == IPPROTO_TCP && !is_opening(packet)) || may_carry(skb, packet, v6);
}

/* The packet of a marked choice is to get the tuple of context->renaming, see clash.h: go_to_service does it. */
static __always_inline void translate_both(struct context *context, __u32 table, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct translation *done = &context->translated;

	done->vip = packet->destination;
	done->vip_port = 0;
	done->table = table;
	done->flags = CT_NAT;
	if (!same_address(&packet->source, &context->renaming.source, v6))
		done->flags |= CT_LOOPBACK;
}

/* If the packet goes to a service, its destination becomes a backend and context->translated says what was done. A connection keeps its backend
 * whatever becomes of the service; so do datagrams while the service has the backend. For a client outside whose backend is no pod of this node
 * and does not answer it directly nothing is done but to say so (context->elsewhere): that flow is one of renaming.h. */
static __always_inline __u32 translate(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct translation *done = &context->translated;
	const bool under_way = packet->protocol == IPPROTO_TCP && !is_opening(packet);
	struct ct_entry fresh = {.flags = CT_SERVICE};
	struct service *service = NULL;
	struct address to __attribute__((aligned(8)));
	__be16 to_port;
	__u32 now = context->now;
	struct ct_entry *entry = context->has_entry ? ct_find(&context->key, v6) : NULL;
	bool chosen = false, keep;

	if (entry)
		chosen = entry->flags & CT_SERVICE;
	keep = chosen && under_way;
	if (!keep) {
		service = find_service(packet, context->scope, v6);
		if (!service)
			return 0;
		if (chosen && entry) {
			if (entry->nat_id != service->id && has_backend(service, &entry->nat_address, entry->nat_port))
				entry->nat_id = service->id;
			keep = entry->nat_id == service->id;
		}
	}
	/* before anything is written: what is here does not come in from outside */
	if (context->scope == SCOPE_OUTSIDE && (is_here(&packet->source, v6) || is_nobody(&packet->source, v6)))
		return REASON_SPOOFED_ADDRESS;
	remember_tuple(context);
	if (keep && entry) {
		if (entry->flags & CT_NAT) {
			if (entry->last_used != now)
				entry->last_used = now;
			if (is_renamed(skb, context, v6)) {
				translate_both(context, entry->nat_id, v6);
				return 0;
			}
			entry->flags &= ~CT_NAT; /* silent for too long */
		}
		to = entry->nat_address;
		to_port = entry->nat_port;
		done->table = entry->nat_id;
		if (entry->last_used != now)
			entry->last_used = now;
	} else {
		if (!service || !choose_backend(context, service, &fresh, v6))
			return REASON_NO_BACKEND;
		count_flow(&packet->destination, packet->destination_port, packet->protocol, context->scope);
		if (context->scope == SCOPE_OUTSIDE && !endpoint_at(&fresh.nat_address) &&
		    !returns_directly(skb, packet, service, &fresh.nat_address, v6)) {
			context->renaming.destination = fresh.nat_address;
			context->renaming.destination_port = fresh.nat_port;
			context->renaming.table = fresh.nat_id;
			context->elsewhere = 1;
			return 0;
		}
		to = fresh.nat_address;
		to_port = fresh.nat_port;
		done->table = fresh.nat_id;
		fresh.flags |= context->source_low ? CT_INITIATOR_LOW : 0;
		fresh.last_used = now;
		fresh.created = now;
		if (ct_store(&context->key, &fresh, v6))
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
		return rewrite(skb, packet, NAT_SOURCE, &to, 0, v6);
	}
	return 0;
}

/* The reply of a translated flow shows the service's address again, and goes to the real client. */
static __always_inline __u32 translate_back(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const struct tracked *tracked = &context->tracked;

	if (!tracked->nat_port) {
		if (!is_renamed(skb, context, v6))
			return REASON_NAT_FAILED;
		take_name(skb, v6);
		return context->reason;
	}
	if (tracked->flags & CT_LOOPBACK) {
		struct address self = packet->source;

		if (rewrite(skb, packet, NAT_DESTINATION, &self, 0, v6))
			return REASON_NAT_FAILED;
	}
	return rewrite(skb, packet, NAT_SOURCE, &tracked->nat_address, tracked->nat_port, v6);
}

STEP translate4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = translate(skb, context, false);
	return 0;
}

STEP translate6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = translate(skb, context, true);
	return 0;
}

/* A service's packet becomes its backend's: context->translated, context->reason. */
static __always_inline void go_to_service(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	if (v6)
		translate6(skb);
	else
		translate4(skb);
	/* here and not in the step, for the frames of a chain of calls have 512 bytes */
	if (!context->reason && context->translated.flags && !context->translated.vip_port)
		take_name(skb, v6);
}

STEP translate_back4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = translate_back(skb, context, false);
	return 0;
}

STEP translate_back6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = translate_back(skb, context, true);
	return 0;
}

static __always_inline void show_service(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	if (!context->tracked.reply || !(context->tracked.flags & CT_NAT))
		return;
	if (v6)
		translate_back6(skb);
	else
		translate_back4(skb);
}

#endif
