/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* All that is known of the packet at hand, and why the programs are cut as they are.
 *
 * It lives in a map, not on the stack and not in registers. Frames stay below the 512 bytes that a call chain has; and what is off the
 * path of an established flow is a global function (`STEP`) that gets nothing but the packet, finds the rest here and leaves its
 * result here. The verifier walks such a function once, not once for each state of each caller (kernel 6.1 gave up at a
 * million instructions; loading takes a fifth of the time). A tc program is not interrupted by another one on its CPU. */
#ifndef TANDEM_LIB_CONTEXT_H
#define TANDEM_LIB_CONTEXT_H

#include <tandem/maps.h>
#include "clock.h"
#include "packet.h"

#define STEP __attribute__((noinline)) int

/* States of sockets (linux/tcp_states.h in the kernel). */
enum { TCP_STATE_TIME_WAIT = 6, TCP_STATE_LISTEN = 10 };

union ct_key {
	struct ct4_key v4;
	struct ct6_key v6;
};

/* What a service did to this packet's destination, to be kept in the flow's entry. */
struct translation {
	struct address vip __attribute__((aligned(8)));
	__be16 vip_port; /* 0: the source has another port, too, see clash.h */
	__u16 flags; /* CT_NAT, CT_LOOPBACK or 0 */
	__u32 table;
};

union nat_key {
	struct nat4_key v4;
	struct nat6_key v6;
};

/* The tuple that a packet gets, see types.h on nat4. */
struct renaming {
	struct address source __attribute__((aligned(8)));
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 flags; /* enum nat_flags, NAT_KEEPS_SOURCE */
	__u32 table;
};

/* For open_renaming: the source stays, only the destination is another one. */
#define NAT_KEEPS_SOURCE (1 << 16)

/* What conntrack knows of the packet's flow. */
struct tracked {
	struct address nat_address __attribute__((aligned(8)));
	__be16 nat_port;
	__u16 flags; /* of the entry: CT_NAT, CT_LOOPBACK, CT_LOCAL matter to the caller */
	__u32 reply;
};

/* An end of the packet's way, if it is a pod of this node, or the node itself while it has a policy. */
struct end {
	__u32 here;
	__u32 identity;
	__u32 policy_set;
	__u32 policy_revision;
	__u32 flags; /* enum endpoint_flags */
	__u32 id; /* 0: the node */
};

/* An event to be. */
struct sighting {
	__u8 type; /* enum event_type */
	__u8 reason;
	__u8 direction;
	__u8 pad;
	__u16 flags;
	__u16 group;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 endpoint;
	__u32 policy_set;
};

/* Where a packet is seen: what its source may be depends on it. */
enum place {
	AT_POD,
	AT_STACK,
	AT_NETWORK,
	AT_HOST, /* from the network for the node itself: link-local senders are neighbours */
};

/* How a packet relates to the end that is judged: bits of context->how. */
enum judged {
	JUDGE_INGRESS = 1 << 0, /* the end answers the flow; else it opened it */
	JUDGE_REPLY = 1 << 1,	/* the packet is one of the responder's */
	JUDGE_IPV6 = 1 << 2,
	JUDGE_AGAIN = 1 << 3,	/* the flow was allowed before: only a change is told */
	JUDGE_QUIETLY = 1 << 4, /* nothing is told */
};

/* What became of a packet from outside that was sent to no pod. */
enum entered {
	ENTERED, /* it is judged like any other, for the end that its destination is now */
	ENTERED_JUDGED,
	ENTERED_LEAVES, /* for a client or backend that is not here */
};

struct context {
	struct packet packet;
	/* the rest is written before it is read, if it is read at all; `begin` zeroes what later steps add to */
	struct translation translated;
	struct tracked tracked;
	__u32 elsewhere; /* the backend, context->renaming.destination, is no pod of this node */
	__u32 carries;	 /* the packet has got the service's address to take along, see dsr.h */
	__u32 wrapped;	 /* it lies in another one, see dsr_tunnel.h */
	__u32 scope;  /* enum service_scope: of which services the packet's sender is a client */
	__u32 reason; /* why the packet must not pass, 0 so far */
	__u32 now;    /* seconds of CLOCK_MONOTONIC */
	struct packet inner; /* of an ICMP error */
	union ct_key key __attribute__((aligned(8))); /* of the packet as it is now */
	__u32 source_low; /* the packet's source is the low end of the key */
	__u32 has_entry;  /* conntrack has something under the key */
	struct end source;
	struct end destination;
	struct ipcache_value peer; /* who is at the other end of a packet that has one end here */
	struct sighting seen;
	__u32 place;   /* enum place */
	__u32 how;     /* enum judged */
	__u32 verdict; /* enum reason, with JUDGED_AUDIT */
	__u32 related; /* enum related */
	struct renaming renaming;
	union nat_key nat_key __attribute__((aligned(8)));
	__u32 renamed; /* the packet has another tuple to get: renaming */
	__u32 claim;   /* enum claim */
	__u32 mark;    /* with which it leaves */
	__u32 entered; /* enum entered */
	struct renaming arrived; /* the tuple with which it came, of what enters and of what a service translates */
	__u32 mtu; /* of the way, for which the packet is too large */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct context);
	__uint(max_entries, 1);
} scratch SEC(".maps");

static __always_inline struct context *current_context(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline struct context *begin(__u32 l3)
{
	struct context *context = current_context();

	if (context) {
		__builtin_memset(context, 0, offsetof(struct context, reason) + sizeof(context->reason));
		context->packet.l3 = l3;
		context->now = now_seconds();
	}
	return context;
}

/* The tuple that the packet has, before it gets another one. */
static __always_inline void remember_tuple(struct context *context)
{
	const struct packet *packet = &context->packet;
	struct renaming *arrived = &context->arrived;

	arrived->source = packet->source;
	arrived->destination = packet->destination;
	arrived->source_port = packet->source_port;
	arrived->destination_port = packet->destination_port;
}

/* context->packet, of which l3 is given. */
STEP parse4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = parse_ipv4(skb, &context->packet);
	return 0;
}

STEP parse6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = parse_ipv6(skb, &context->packet);
	return 0;
}

static __always_inline void parse(struct __sk_buff *skb, const bool v6)
{
	if (v6)
		parse6(skb);
	else
		parse4(skb);
}

static __always_inline void set_end(struct end *end, const struct endpoint *endpoint)
{
	end->here = endpoint != NULL;
	if (endpoint) {
		end->identity = endpoint->identity;
		end->policy_set = endpoint->policy_set;
		end->policy_revision = endpoint->policy_revision;
		end->flags = endpoint->flags;
		end->id = endpoint->id;
	}
}

/* For steps that ask who is at the ends. */
static __always_inline void set_ends(struct context *context, const struct endpoint *source, const struct endpoint *destination)
{
	set_end(&context->source, source);
	set_end(&context->destination, destination);
}

static __always_inline struct endpoint *endpoint_at(const struct address *address)
{
	return bpf_map_lookup_elem(&endpoint_addr, address);
}

static __always_inline struct ipcache_value *known_at(const struct address *address, const bool v6)
{
	return v6 ? bpf_map_lookup_elem(&ipcache6, address)
		  : bpf_map_lookup_elem(&ipcache4, ipv4_of((struct address *)address));
}

/* Who has an address. Pods and nodes are in ipcache; what is inside of a pod CIDR but unknown is unmanaged, not world. */
static __always_inline void identify(struct ipcache_value *who, const struct address *address, const bool v6)
{
	struct ipcache_value *value = known_at(address, v6);

	if (value) {
		*who = *value;
		return;
	}
	if (v6) {
		struct prefix6_key prefix = {.prefixlen = 128};

		prefix.address = *address;
		value = bpf_map_lookup_elem(&cluster_prefix6, &prefix);
	} else {
		struct prefix4_key prefix = {.prefixlen = 32};

		prefix.address = *ipv4_of((struct address *)address);
		value = bpf_map_lookup_elem(&cluster_prefix4, &prefix);
	}
	who->identity = value ? value->identity : v6 ? ID_WORLD_IPV6 : ID_WORLD_IPV4;
	who->flags = 0;
}

/* An address of the node itself. */
static __always_inline bool is_of_node(const struct address *address, const bool v6)
{
	struct ipcache_value *value = known_at(address, v6);

	return value && value->flags & IPCACHE_LOCAL_NODE;
}

/* An address of a pod of this node or of the node itself. */
static __always_inline bool is_here(const struct address *address, const bool v6)
{
	return endpoint_at(address) || is_of_node(address, v6);
}

/* Nobody sends from there over a router: this network, loopback, multicast, reserved, link-local (RFC 1122 3.2.1.3, RFC 4291 2.7,
 * RFC 4007 9). The stack refuses such sources; what does not pass it must be refused here. */
static __always_inline bool is_nobody(const struct address *address, const bool v6)
{
	if (v6) {
		const __u64 *halves = (const __u64 *)address->bytes;

		return address->bytes[0] == 0xff || (address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80) ||
		       (!halves[0] && (bpf_be64_to_cpu(halves[1]) <= 1));
	}
	return address->bytes[12] == 0 || address->bytes[12] == 127 || address->bytes[12] >= 224;
}

#endif
