/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services at the socket: connect() and sendmsg() to a service go to a backend from the start, so nothing is translated per
 * packet; recvmsg() and getpeername() show the service that the program knows. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <tandem/maps.h>

#define ALLOW 1
#define REFUSE 0 /* EPERM to the program */

static __always_inline void set_mapped(struct address *address, __be32 ipv4)
{
	__be32 *words = (__be32 *)address->bytes;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = ipv4;
}

static __always_inline struct service_backend *pick(const struct service *service)
{
	struct service_backend_key key = {.service = service->id};
	struct service_backend *backend;

	if (!service->backends)
		return NULL;
	key.slot = bpf_get_prandom_u32() % service->backends;
	backend = bpf_map_lookup_elem(&service_backend, &key);
	if (!backend && key.slot) { /* the table is just being replaced */
		key.slot = 0;
		backend = bpf_map_lookup_elem(&service_backend, &key);
	}
	return backend;
}

/* Keeps what this socket believes to talk to. */
static __always_inline void remember(struct bpf_sock_addr *ctx, const struct service_backend *backend,
				     const struct address *vip, __be16 vip_port)
{
	struct sock_reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = backend->port};
	struct sock_reverse value = {.port = vip_port};

	key.backend = backend->address;
	value.address = *vip;
	bpf_map_update_elem(&sock_reverse, &key, &value, BPF_ANY);
}

static __always_inline struct sock_reverse *recall(struct bpf_sock_addr *ctx, const struct address *peer, __be16 port)
{
	struct sock_reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = port};

	key.backend = *peer;
	return bpf_map_lookup_elem(&sock_reverse, &key);
}

static __always_inline bool read_ipv4_mapped(struct bpf_sock_addr *ctx, __be32 *ipv4)
{
	if (ctx->user_ip6[0] || ctx->user_ip6[1] || ctx->user_ip6[2] != bpf_htonl(0xffff))
		return false;
	*ipv4 = ctx->user_ip6[3];
	return true;
}

static __always_inline void read_ipv6(struct bpf_sock_addr *ctx, struct address *address)
{
	__u32 *words = (__u32 *)address->bytes;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
}

static __always_inline void write_ipv6(struct bpf_sock_addr *ctx, const struct address *address)
{
	const __u32 *words = (const __u32 *)address->bytes;

	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
}

static __always_inline struct service *service4_of(struct bpf_sock_addr *ctx, __be32 ipv4)
{
	struct service4_key key = {.address = ipv4, .port = ctx->user_port, .protocol = ctx->protocol};

	return bpf_map_lookup_elem(&service4, &key);
}

static __always_inline int translate4(struct bpf_sock_addr *ctx)
{
	__be32 ipv4 = ctx->user_ip4;
	struct service *service = service4_of(ctx, ipv4);
	struct service_backend *backend;
	struct address vip;

	if (!service)
		return ALLOW;
	backend = pick(service);
	if (!backend)
		return REFUSE;
	set_mapped(&vip, ipv4);
	remember(ctx, backend, &vip, ctx->user_port);
	ctx->user_ip4 = *(const __be32 *)&backend->address.bytes[12];
	ctx->user_port = backend->port;
	return ALLOW;
}

static __always_inline int translate6(struct bpf_sock_addr *ctx)
{
	struct service_backend *backend;
	struct service *service;
	struct address vip __attribute__((aligned(8)));
	__be32 ipv4;

	read_ipv6(ctx, &vip);
	if (read_ipv4_mapped(ctx, &ipv4)) {
		service = service4_of(ctx, ipv4);
	} else {
		struct service6_key key = {.port = ctx->user_port, .protocol = ctx->protocol};

		key.address = vip;
		service = bpf_map_lookup_elem(&service6, &key);
	}
	if (!service)
		return ALLOW;
	backend = pick(service);
	if (!backend)
		return REFUSE;
	remember(ctx, backend, &vip, ctx->user_port);
	write_ipv6(ctx, &backend->address);
	ctx->user_port = backend->port;
	return ALLOW;
}

static __always_inline int reverse4(struct bpf_sock_addr *ctx)
{
	struct sock_reverse *known;
	struct address peer;

	set_mapped(&peer, ctx->user_ip4);
	known = recall(ctx, &peer, ctx->user_port);
	if (known) {
		ctx->user_ip4 = *(const __be32 *)&known->address.bytes[12];
		ctx->user_port = known->port;
	}
	return ALLOW;
}

static __always_inline int reverse6(struct bpf_sock_addr *ctx)
{
	struct address peer __attribute__((aligned(8)));
	struct sock_reverse *known;

	read_ipv6(ctx, &peer);
	known = recall(ctx, &peer, ctx->user_port);
	if (known) {
		write_ipv6(ctx, &known->address);
		ctx->user_port = known->port;
	}
	return ALLOW;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return translate4(ctx);
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return translate6(ctx);
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return translate4(ctx);
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return translate6(ctx);
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return reverse4(ctx);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return reverse6(ctx);
}

SEC("cgroup/getpeername4")
int sock_getpeername4(struct bpf_sock_addr *ctx)
{
	return reverse4(ctx);
}

SEC("cgroup/getpeername6")
int sock_getpeername6(struct bpf_sock_addr *ctx)
{
	return reverse6(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
