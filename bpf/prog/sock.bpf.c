/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services at the socket: connect() and sendmsg() to a service go to a backend from the start, so nothing is translated per
 * packet; recvmsg() and getpeername() show the service that the program knows. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/backend.h"
#include "../lib/service_count.h"

#define ALLOW 1
#define REFUSE 0
#define CONNECTION_REFUSED 111 /* ECONNREFUSED */
#define ADDRESS_IN_USE 98 /* EADDRINUSE */

/* With this error where the kernel lets a program choose it (5.18+), else EPERM. */
static __always_inline int refuse(int error)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id___tandem, BPF_FUNC_set_retval___tandem))
		bpf_set_retval(-error);
	return REFUSE;
}

static __always_inline void set_mapped(struct address *address, __be32 ipv4)
{
	__be32 *words = (__be32 *)address->bytes;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = ipv4;
}

static __always_inline bool is_mapped(const struct address *address)
{
	const __u32 *words = (const __u32 *)address->bytes;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

/* Whom this socket talks to, as the program gave it; IPv4 as ::ffff:a.b.c.d. */
static __always_inline void read_address(struct bpf_sock_addr *ctx, struct address *address, const bool v6)
{
	__u32 *words = (__u32 *)address->bytes;

	if (!v6) {
		set_mapped(address, ctx->user_ip4);
		return;
	}
	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, const struct address *address, const bool v6)
{
	const __u32 *words = (const __u32 *)address->bytes;

	if (!v6) {
		ctx->user_ip4 = words[3];
		return;
	}
	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
}

static __always_inline struct service *service_of(const struct address *address, __be16 port, __u8 protocol, const bool v6)
{
	if (v6 && !is_mapped(address)) {
		struct service6_key key = {.port = port, .protocol = protocol};

		key.address = *address;
		return bpf_map_lookup_elem(&service6, &key);
	} else {
		struct service4_key key = {.port = port, .protocol = protocol};

		key.address = ((const __be32 *)address->bytes)[3];
		return bpf_map_lookup_elem(&service4, &key);
	}
}

/* Keeps what this socket believes to talk to. A socket that sends datagrams to one service does so once. */
static __always_inline void remember(struct bpf_sock_addr *ctx, const struct address *backend, __be16 port,
				     const struct address *vip, __be16 vip_port)
{
	struct sock_reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = port};
	struct sock_reverse value = {.port = vip_port}, *known;

	key.backend = *backend;
	known = bpf_map_lookup_elem(&sock_reverse, &key);
	if (known && known->port == vip_port && same_bytes16(&known->address, vip))
		return;
	value.address = *vip;
	bpf_map_update_elem(&sock_reverse, &key, &value, BPF_ANY);
}

/* `datagram`: the socket is not connected, and each datagram passes here. They stay with one backend while it is there: most
 * protocols over UDP are conversations (QUIC, DTLS, SIP). */
static __always_inline int translate(struct bpf_sock_addr *ctx, const bool datagram, const bool v6)
{
	struct affinity_key client = {.port = ctx->user_port, .protocol = ctx->protocol};
	struct address vip __attribute__((aligned(8))), to __attribute__((aligned(8)));
	struct service_backend *backend;
	struct affinity *kept = NULL;
	struct service *service;
	__be16 port;
	__u32 now, salt, seconds = 0;

	read_address(ctx, &vip, v6);
	service = service_of(&vip, client.port, client.protocol, v6);
	if (!service)
		return ALLOW;
	now = now_seconds();
	client.service = vip;
	if (service->flags & SERVICE_AFFINITY) {
		client.kind = AFFINITY_NETNS;
		*(__u64 *)client.client.bytes = bpf_get_netns_cookie(ctx);
		seconds = service->affinity_seconds;
	} else if (datagram) {
		client.kind = AFFINITY_SOCKET;
		*(__u64 *)client.client.bytes = bpf_get_socket_cookie(ctx);
		seconds = config_timeout_udp_replied;
	}
	if (client.kind)
		kept = kept_backend(&client, service, seconds, now);
	if (kept) {
		to = kept->address;
		port = kept->port;
	} else {
		/* the port that the socket will have nobody knows yet */
		salt = client.kind ? 0 : bpf_get_prandom_u32();
		backend = new_backend(service, &client, salt);
		if (!backend) { /* none, or the service has just got another table: then the old one's slots are gone */
			service = service_of(&vip, client.port, client.protocol, v6);
			backend = service ? new_backend(service, &client, salt) : NULL;
			if (!backend)
				return refuse(CONNECTION_REFUSED); /* as a host without a listener does */
		}
		to = backend->address;
		port = backend->port;
		if (client.kind)
			keep_backend(&client, service, backend, now);
	}
	if (!datagram || !kept) /* else one of a talk under way */
		count_flow(&vip, client.port, client.protocol, SCOPE_INSIDE);
	remember(ctx, &to, port, &vip, client.port);
	write_address(ctx, &to, v6);
	ctx->user_port = port;
	return ALLOW;
}

/* Shows the service instead of the backend. */
static __always_inline int reverse(struct bpf_sock_addr *ctx, const bool v6)
{
	struct sock_reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = ctx->user_port};
	struct sock_reverse *known;

	read_address(ctx, &key.backend, v6);
	known = bpf_map_lookup_elem(&sock_reverse, &key);
	if (known) {
		write_address(ctx, &known->address, v6);
		ctx->user_port = known->port;
	}
	return ALLOW;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return translate(ctx, false, false);
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return translate(ctx, false, true);
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return translate(ctx, true, false);
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return translate(ctx, true, true);
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, false);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, true);
}

SEC("cgroup/getpeername4")
int sock_getpeername4(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, false);
}

SEC("cgroup/getpeername6")
int sock_getpeername6(struct bpf_sock_addr *ctx)
{
	return reverse(ctx, true);
}

/* A server of the node itself on a port that is a service's would wait for ever: packets to it are for the service. Loopback is not. */
static __always_inline int protect(struct bpf_sock *ctx, bool loopback)
{
	struct node_port_key key = {.port = bpf_htons(ctx->src_port), .protocol = ctx->protocol};

	if (loopback || !config_node_netns || !bpf_map_lookup_elem(&node_port, &key))
		return ALLOW;
	return bpf_get_netns_cookie(ctx) == config_node_netns ? refuse(ADDRESS_IN_USE) : ALLOW;
}

SEC("cgroup/post_bind4")
int sock_bind4(struct bpf_sock *ctx)
{
	return protect(ctx, (bpf_ntohl(ctx->src_ip4) >> 24) == 127);
}

SEC("cgroup/post_bind6")
int sock_bind6(struct bpf_sock *ctx)
{
	return protect(ctx, !ctx->src_ip6[0] && !ctx->src_ip6[1] && !ctx->src_ip6[2] && ctx->src_ip6[3] == bpf_htonl(1));
}

char _license[] SEC("license") = "Dual BSD/GPL";
