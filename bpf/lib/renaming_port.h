/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A port of this node for a flow that gets its address. What answers has one entry under the port, which is made only where there is none: that
 * is the claim, and two flows never have the same. A port is of one peer's address and port; other peers have 60,000 more. */
#ifndef TANDEM_LIB_RENAMING_PORT_H
#define TANDEM_LIB_RENAMING_PORT_H

#include <tandem/config.h>
#include "kernel_flow.h"
#include "renaming.h"

/* Chosen at random. With 60,000 taken, of the 61,744 that there are, so many miss all that is free once in a million times. */
#define PORT_TRIES 512
#define PORT_FIRST 1024

/* A server or connection of the node itself has it; or one in the node's name whose socket knows other ends, as others' rules made them: kube-proxy's
 * of one that began before Tandem served the address, or the kernel's masquerading. Where the source stays (NAT_KEEPS_SOURCE) the port is its own, and
 * a server of the node may have a connection with it. */
static __always_inline bool is_held_by_node(struct __sk_buff *skb, const struct renaming *to, __u8 protocol, const bool v6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 length = v6 ? sizeof(tuple.ipv6) : sizeof(tuple.ipv4);
	const bool served = to->flags & NAT_KEEPS_SOURCE;
	const struct address *peer = served ? &to->source : &to->destination, *own = served ? &to->destination : &to->source;
	const __be16 peer_port = served ? to->source_port : to->destination_port;
	const __be16 own_port = served ? to->destination_port : to->source_port;
	struct bpf_sock *sock;
	bool held = true;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return false;
	if (v6) {
		__builtin_memcpy(tuple.ipv6.saddr, peer->bytes, 16);
		__builtin_memcpy(tuple.ipv6.daddr, own->bytes, 16);
		tuple.ipv6.sport = peer_port;
		tuple.ipv6.dport = own_port;
	} else {
		tuple.ipv4.saddr = *ipv4_of((struct address *)peer);
		tuple.ipv4.daddr = *ipv4_of((struct address *)own);
		tuple.ipv4.sport = peer_port;
		tuple.ipv4.dport = own_port;
	}
	sock = protocol == IPPROTO_TCP ? bpf_skc_lookup_tcp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0)
				       : bpf_sk_lookup_udp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0);
	if (!sock)
		return kernel_flow_status(skb, &tuple, protocol, v6);
	if (served) /* the server itself listens for anybody */
		held = protocol == IPPROTO_TCP ? sock->state != TCP_STATE_LISTEN : sock->dst_port != 0;
	bpf_sk_release(sock);
	return held;
}

/* The answers' entry for context->renaming with its source_port, leading back to the packet's ends: context->claim. */
static __always_inline __u32 claim_port(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;
	struct renaming back = {.table = to->table};
	long result;

	if ((!(to->flags & NAT_KEEPS_SOURCE) || to->source_port != packet->source_port) &&
	    is_held_by_node(skb, to, packet->protocol, v6))
		return CLAIM_TAKEN;
	back.source = packet->destination;
	back.destination = packet->source;
	back.source_port = packet->destination_port;
	back.destination_port = packet->source_port;
	nat_key_back(&context->nat_key, to, packet->protocol, v6);
	result = nat_store(&context->nat_key, &back, NAT_BACK | (to->flags & NAT_SERVICE), context->now, v6);
	if (!result)
		return CLAIM_GRANTED;
	return result == ERROR_EXISTS ? CLAIM_TAKEN : CLAIM_NO_ROOM;
}

STEP claim_port4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->claim = claim_port(skb, context, false);
	return 0;
}

STEP claim_port6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->claim = claim_port(skb, context, true);
	return 0;
}

static __always_inline void claim(struct __sk_buff *skb, const bool v6)
{
	if (v6)
		claim_port6(skb);
	else
		claim_port4(skb);
}

static __always_inline bool is_for_flows(__be16 port)
{
	__u32 number = bpf_ntohs(port);

	return number >= PORT_FIRST && (number < config_node_port_first || number > config_node_port_last);
}

/* As claim_port, for a port by chance. */
static __always_inline void claim_any_port(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct renaming *to = &context->renaming;

	if (to->flags & NAT_KEEPS_SOURCE) {
		to->source_port = another_port(context->packet.source_port);
	} else {
		to->source_port = bpf_htons(bpf_get_prandom_u32());
		if (!is_for_flows(to->source_port))
			return;
	}
	claim(skb, v6);
}

STEP claim_any_port4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		claim_any_port(skb, context, false);
	return 0;
}

STEP claim_any_port6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		claim_any_port(skb, context, true);
	return 0;
}

/* A flow begins: context->renaming says which address it gets, what it goes to, table and kind; here it gets the port (its own one, if that is
 * free) and both entries. context->reason: REASON_NAT_FULL. */
static __always_inline void open_renaming(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct renaming *to = &context->renaming;
	const bool ported = packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP, echo = is_echo(packet, v6);
	const bool keeps = to->flags & NAT_KEEPS_SOURCE;
	/* what has no ports has one flow with a peer; an SCTP association has its ports on all of its ways (RFC 9260 1.3), of which this is one */
	const bool chooses = ported || (keeps ? has_ports(packet->protocol) : echo);

	context->reason = REASON_NAT_FULL;
	context->claim = CLAIM_TAKEN;
	to->source_port = packet->source_port;
	if (!ported || keeps || is_for_flows(packet->source_port))
		claim(skb, v6);
	for (int i = 0; i < PORT_TRIES; i++) {
		if (!chooses || context->claim != CLAIM_TAKEN)
			break;
		if (v6)
			claim_any_port6(skb);
		else
			claim_any_port4(skb);
	}
	if (context->claim != CLAIM_GRANTED)
		return;
	nat_key_of(&context->nat_key, packet, v6);
	if (!nat_store(&context->nat_key, to, next_state(to->flags & NAT_SERVICE, packet, false), context->now, v6)) {
		context->reason = 0;
		return;
	}
	/* no room, or another CPU has begun the same flow: then that is the one */
	nat_key_back(&context->nat_key, to, packet->protocol, v6);
	nat_delete(&context->nat_key, v6);
	find_renaming(context, v6);
	if (context->renamed)
		context->reason = 0;
}

STEP open_renaming4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		open_renaming(skb, context, false);
	return 0;
}

STEP open_renaming6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		open_renaming(skb, context, true);
	return 0;
}

static __always_inline void begin_renaming(struct __sk_buff *skb, const bool v6)
{
	if (v6)
		open_renaming6(skb);
	else
		open_renaming4(skb);
}

#endif
