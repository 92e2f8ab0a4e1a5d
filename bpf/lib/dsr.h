/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Direct server return: the node that a client came to sends its packet on as it is, the backend's node answers the client itself. What it must
 * show as the source comes along in a packet that may begin a flow; all others of the flow are plain, so that they may come by any node
 * that chooses the same backend. */
#ifndef TANDEM_LIB_DSR_H
#define TANDEM_LIB_DSR_H

#include <tandem/config.h>
#include "checksum.h"
#include "context.h"
#include "service.h"

/* Header and option, as they stand in a packet. */
struct dsr4_header {
	struct iphdr ip;
	struct dsr4_option option;
};

static __always_inline __u32 carry4(struct __sk_buff *skb, struct packet *packet, const struct translation *service)
{
	struct dsr4_header header = {.option = {.type = DSR4_OPTION, .length = sizeof(header.option)}};

	header.option.port = service->vip_port;
	header.option.address = *ipv4_of((struct address *)&service->vip);
	if (bpf_skb_adjust_room(skb, sizeof(header.option), BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_load_bytes(skb, packet->l3, &header.ip, sizeof(header.ip)))
		return REASON_NAT_FAILED;
	header.ip.ihl = sizeof(header) / 4;
	header.ip.tot_len = bpf_htons(bpf_ntohs(header.ip.tot_len) + sizeof(header.option));
	header.ip.check = 0;
	header.ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&header, sizeof(header), 0));
	return bpf_skb_store_bytes(skb, packet->l3, &header, sizeof(header), 0) ? REASON_NAT_FAILED : 0;
}

/* Takes out the option that follows this header. */
static __always_inline __u32 remove4(struct __sk_buff *skb, struct packet *packet, struct iphdr *ip)
{
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = bpf_htons(bpf_ntohs(ip->tot_len) - sizeof(struct dsr4_option));
	ip->check = 0;
	ip->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
	packet->l4 -= sizeof(struct dsr4_option);
	packet->l3_length -= sizeof(struct dsr4_option);
	return bpf_skb_adjust_room(skb, -(__s32)sizeof(struct dsr4_option), BPF_ADJ_ROOM_NET, 0) ||
			       bpf_skb_store_bytes(skb, packet->l3, ip, sizeof(*ip), 0)
		       ? REASON_NAT_FAILED
		       : 0;
}

/* What `carry4` did is undone. */
static __always_inline __u32 strip4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	return bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) ? REASON_NAT_FAILED : remove4(skb, packet, &ip);
}

static __always_inline __u32 carry6(struct __sk_buff *skb, struct packet *packet, const struct translation *service)
{
	struct dsr6_header header = {.words = 2, .type = DSR6_OPTION, .length = 20, .port = service->vip_port};
	struct ipv6hdr ip;

	header.address = service->vip;
	if (bpf_skb_adjust_room(skb, sizeof(header), BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)))
		return REASON_NAT_FAILED;
	header.next = ip.nexthdr;
	ip.nexthdr = IPPROTO_DSTOPTS;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) + sizeof(header));
	/* no header checksum balances the change: what a device summed up changes, too */
	return bpf_skb_store_bytes(skb, packet->l3, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM) ||
			       bpf_skb_store_bytes(skb, packet->l3 + sizeof(ip), &header, sizeof(header), BPF_F_RECOMPUTE_CSUM)
		       ? REASON_NAT_FAILED
		       : 0;
}

/* The packet takes along what context->translated says. */
static __always_inline __u32 carry(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const __u32 room = v6 ? sizeof(struct dsr6_header) : sizeof(struct dsr4_option);
	__u32 reason = v6 ? carry6(skb, packet, &context->translated) : carry4(skb, packet, &context->translated);

	packet->l4 += room;
	packet->l3_length += room;
	context->carries = 1;
	return reason;
}

STEP carry_service4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = carry(skb, context, false);
	return 0;
}

STEP carry_service6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = carry(skb, context, true);
	return 0;
}

/* Only what clients outside may use is shown to them, whoever says so: a service that backends answer for, or a node's port. */
static __always_inline bool is_answered_for(const struct address *vip, __be16 port, __u8 protocol, const bool v6)
{
	struct packet asked = {.destination_port = port, .protocol = protocol};
	const __u32 number = bpf_ntohs(port);
	struct ipcache_value *known;
	struct service *service;

	asked.destination = *vip;
	service = find_service(&asked, SCOPE_OUTSIDE, v6);
	if (service)
		return service->flags & SERVICE_DSR;
	known = known_at(vip, v6);
	return known && known->flags & IPCACHE_NODE && number >= config_node_port_first && number <= config_node_port_last;
}

static __always_inline __u32 unload4(struct __sk_buff *skb, struct context *context)
{
	struct packet *packet = &context->packet;
	struct translation *service = &context->translated;
	struct dsr4_header header;
	struct address vip __attribute__((aligned(8)));

	if (bpf_skb_load_bytes(skb, packet->l3, &header, sizeof(header)))
		return REASON_MALFORMED;
	if (header.option.type != DSR4_OPTION || header.option.length != sizeof(header.option))
		return 0;
	set_ipv4(&vip, header.option.address);
	if (!is_answered_for(&vip, header.option.port, packet->protocol, false))
		return 0;
	service->vip = vip;
	service->vip_port = header.option.port;
	service->flags = CT_NAT | CT_DSR;
	return remove4(skb, packet, &header.ip);
}

static __always_inline __u32 unload6(struct __sk_buff *skb, struct context *context)
{
	struct packet *packet = &context->packet;
	struct translation *service = &context->translated;
	struct dsr6_header header, none = {};
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, packet->l3 + sizeof(ip), &header, sizeof(header)))
		return REASON_MALFORMED;
	if (ip.nexthdr != IPPROTO_DSTOPTS || header.words != 2 || header.type != DSR6_OPTION || header.length != 20)
		return 0;
	if (!is_answered_for(&header.address, header.port, packet->protocol, true))
		return 0;
	service->vip = header.address;
	service->vip_port = header.port;
	service->flags = CT_NAT | CT_DSR;
	ip.nexthdr = header.next;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) - sizeof(header));
	packet->l4 -= sizeof(header);
	packet->l3_length -= sizeof(header);
	return bpf_skb_store_bytes(skb, packet->l3 + sizeof(ip), &none, sizeof(none), BPF_F_RECOMPUTE_CSUM) ||
			       bpf_skb_adjust_room(skb, -(__s32)sizeof(header), BPF_ADJ_ROOM_NET, 0) ||
			       bpf_skb_store_bytes(skb, packet->l3, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM)
		       ? REASON_NAT_FAILED
		       : 0;
}

STEP unload_service4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = unload4(skb, context);
	return 0;
}

STEP unload_service6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = unload6(skb, context);
	return 0;
}

/* What another node sent along is taken from a packet for a pod of this node: context->translated. */
static __always_inline void unload_service(struct __sk_buff *skb, const struct packet *packet, const bool v6)
{
	const __u32 headers = packet->l4 - packet->l3;

	if (packet->flags & (PACKET_LATER_FRAGMENT | PACKET_ICMP_ERROR))
		return;
	if (!v6 && headers == sizeof(struct dsr4_header))
		unload_service4(skb);
	else if (v6 && headers >= sizeof(struct ipv6hdr) + sizeof(struct dsr6_header))
		unload_service6(skb);
}

#endif
