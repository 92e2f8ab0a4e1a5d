/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flows that a policy sends to the L7 proxy of this node. The proxy is a pair of connections with one tuple: it accepts the client's under the
 * address that the client asked for, and makes its own to the server from the client's address and port. So each packet belongs to
 * a socket that its tuple finds; only what opens a connection has to be given to a listener, whose sockets are in a map that they leave by
 * themselves when they are closed. Without one the flow is closed: nobody else who listens gets anything.
 *
 * Where the kernel cannot be told the socket (config_proxy_redirect), a table of nft finds it again by the tuple or by the listener's port, which the mark
 * has (src/datapath/tproxy-table.ts). Such a packet looks like one of a broadcast until then: if the table is away, the stack neither forwards it nor gives
 * it to a TCP socket. */
#ifndef TANDEM_LIB_PROXY_H
#define TANDEM_LIB_PROXY_H

#include "conntrack.h"
#include "deliver.h"
#include "service.h"

#define LOOPBACK 1 /* ifindex of lo, in every namespace */

static __always_inline __u32 tuple_of(const struct packet *packet, struct bpf_sock_tuple *tuple, const bool v6)
{
	if (v6) {
		__builtin_memcpy(tuple->ipv6.saddr, packet->source.bytes, 16);
		__builtin_memcpy(tuple->ipv6.daddr, packet->destination.bytes, 16);
		tuple->ipv6.sport = packet->source_port;
		tuple->ipv6.dport = packet->destination_port;
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.saddr = *ipv4_of((struct address *)&packet->source);
	tuple->ipv4.daddr = *ipv4_of((struct address *)&packet->destination);
	tuple->ipv4.sport = packet->source_port;
	tuple->ipv4.dport = packet->destination_port;
	return sizeof(tuple->ipv4);
}

/* A worker's listening socket: flows are spread by the client's port. The first one takes those of a worker that is gone. */
static __always_inline struct bpf_sock *listener_for(const struct packet *packet, const bool v6)
{
	__u32 zero = 0, slot, first, kind = (packet->protocol == IPPROTO_UDP ? PROXY_UDP4 : PROXY_TCP4) + v6;
	struct proxy *running = bpf_map_lookup_elem(&proxy, &zero);
	__u32 workers = running ? running->workers : 0, port = bpf_ntohs(packet->source_port);
	struct bpf_sock *sk;

	if (!workers || workers > PROXY_WORKERS)
		return NULL;
	first = kind * PROXY_WORKERS;
	slot = first + (port ^ port >> 8) % workers;
	sk = bpf_map_lookup_elem(&proxy_socket, &slot);
	return sk ? sk : bpf_map_lookup_elem(&proxy_socket, &first);
}

/* linux/if_packet.h in the kernel. */
#define PACKET_LIKE_BROADCAST 1

/* The packet is for this socket. False: the kernel does not take it. */
static __always_inline bool give(struct __sk_buff *skb, struct context *context, struct bpf_sock *sk, const bool listens)
{
	__u32 port = listens ? sk->src_port : PROXY_PORT_NOBODY;

	if (config_proxy_redirect == PROXY_REDIRECT_ASSIGN)
		return !bpf_sk_assign(skb, sk, 0);
	if (config_proxy_redirect != PROXY_REDIRECT_TPROXY)
		return false;
	if (port < PROXY_PORT_NOBODY || port > PROXY_PORT_LAST || bpf_skb_change_type(skb, PACKET_LIKE_BROADCAST))
		return false;
	skb->mark &= ~MARK_LISTENER_MASK;
	context->mark = MARK_TO_LISTENER | (port - PROXY_PORT_NOBODY) << MARK_LISTENER_SHIFT;
	return true;
}

/* A connection that is there already. False: there is none, or one that only a listener could go on with. */
static __always_inline bool find_connection(struct __sk_buff *skb, struct context *context, __u32 *reason, const bool v6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 length = tuple_of(&context->packet, &tuple, v6), state;
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0);
	bool found = false;

	if (!sk)
		return false;
	state = sk->state;
	if (state != TCP_STATE_LISTEN && state != TCP_STATE_TIME_WAIT) {
		*reason = give(skb, context, sk, false) ? REASON_FORWARDED : REASON_PROXY_MISSING;
		found = true;
	} else if (state == TCP_STATE_TIME_WAIT && !is_opening(&context->packet)) { /* the stack finds it, and answers */
		*reason = REASON_FORWARDED;
		found = true;
	}
	bpf_sk_release(sk);
	return found;
}

/* The socket that asked a server in a client's name: an answer is for nobody else. */
static __always_inline __u32 find_asker(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 length = tuple_of(&context->packet, &tuple, v6), reason = REASON_PROXY_MISSING;
	struct bpf_sock *sk = bpf_sk_lookup_udp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return reason;
	if (sk->dst_port && give(skb, context, sk, false)) /* connected: else it is a server of the node's own */
		reason = REASON_FORWARDED;
	bpf_sk_release(sk);
	return reason;
}

/* Gives the packet to its socket; a reason, if there is none. */
static __always_inline __u32 steer(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	__u32 reason = REASON_PROXY_MISSING;
	struct bpf_sock *sk;

	if (packet->protocol == IPPROTO_TCP) {
		if (find_connection(skb, context, &reason, v6) || context->tracked.reply)
			return reason;
	} else if (context->tracked.reply) {
		return find_asker(skb, context, v6);
	}
	/* put together it would have no socket any more, and the stack would look for one: a server of the node's own could be found */
	if (packet->flags & PACKET_FIRST_FRAGMENT)
		return REASON_FRAGMENT;
	sk = listener_for(packet, v6);
	if (!sk)
		return reason;
	if (give(skb, context, sk, true))
		reason = REASON_FORWARDED;
	bpf_sk_release(sk);
	return reason;
}

STEP steer4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = steer(skb, context, false);
	return 0;
}

STEP steer6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = steer(skb, context, true);
	return 0;
}

static __always_inline bool is_proxied(const struct context *context)
{
	return context->tracked.flags & CT_PROXY;
}

/* Up into the stack, to a socket of the proxy's: a rule of the routes takes what has this mark for the node's own. An ICMP error about what the
 * proxy sent finds its socket there. context->reason: nobody is there. */
static __always_inline int to_proxy(struct __sk_buff *skb, struct context *context, const bool v6)
{
	context->mark = MARK_TO_PROXY;
	if (!(context->packet.flags & (PACKET_ICMP_ERROR | PACKET_LATER_FRAGMENT))) {
		if (v6)
			steer6(skb);
		else
			steer4(skb);
	}
	return to_stack_as(skb, context->mark);
}

/* A server of this node answers the proxy, which asked in a pod's name: no other socket of the node has a pod's address. */
static __always_inline bool answers_proxy(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 zero = 0, length;
	struct proxy *running = bpf_map_lookup_elem(&proxy, &zero);
	struct bpf_sock *sk;
	bool found;

	if (!running || !running->workers || !has_proxy(context->packet.protocol) || !is_of_node(&context->packet.source, v6))
		return false;
	length = tuple_of(&context->packet, &tuple, v6);
	if (context->packet.protocol == IPPROTO_TCP) {
		sk = bpf_skc_lookup_tcp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return false;
		found = sk->state != TCP_STATE_LISTEN;
		bpf_sk_release(sk);
		return found;
	}
	sk = bpf_sk_lookup_udp(skb, &tuple, length, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	found = sk->dst_port;
	bpf_sk_release(sk);
	return found;
}

STEP answers_proxy4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context && answers_proxy(skb, context, false);
}

STEP answers_proxy6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context && answers_proxy(skb, context, true);
}

/* From a pod's device back into the stack, which gives it to its socket. */
static __always_inline int back_to_proxy(struct __sk_buff *skb)
{
	const __u8 own[6] = {}; /* of lo */

	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), own, sizeof(own), 0))
		return TC_ACT_SHOT;
	set_mark(skb, MARK_TO_PROXY);
	return bpf_redirect(LOOPBACK, BPF_F_INGRESS);
}

/* What the proxy sends was judged when it came to it. Its flow lives on, and clients of a service see the service. */
static __always_inline void goes_on(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct ct_entry *entry = look_up_flow(context, v6);

	if (!entry || entry->flags & CT_SERVICE)
		return;
	context->tracked.reply = !is_initiator_source(entry, context->source_low);
	tell_tracked(&context->tracked, entry);
	ct_advance(entry, &context->packet, context->tracked.reply, context->now);
	show_service(skb, context, v6);
}

#endif
