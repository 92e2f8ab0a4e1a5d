/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The ABI between the eBPF programs and the agent: every map key and value, and the record of an event.
 * The TypeScript codecs (src/native/layouts.gen.ts) are generated from the BTF of the built objects, so a change here
 * is a change there; what is pinned is checked against them when the agent starts. One file, though long: an ABI is read whole.
 *
 * Rules: fixed-width types; explicit, zeroed padding; a static assert of the size of each struct. Addresses and ports
 * are in network byte order (__be16, __be32, in6 bytes) as the packet has them; everything else is host order. */
#ifndef TANDEM_TYPES_H
#define TANDEM_TYPES_H

#include <linux/types.h>

#ifdef __cplusplus
#define ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " must be " #bytes " bytes")
#else
#define ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " must be " #bytes " bytes")
#endif

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d. */
struct address {
	__u8 bytes[16];
};
ASSERT_SIZE(struct address, 16);

/* ---- who is who ------------------------------------------------------------------------------------------------ */

/* Identities below 256 are reserved; the numbers are Cilium's. */
enum identity_number {
	ID_UNKNOWN = 0,
	ID_HOST = 1,
	ID_WORLD = 2,
	ID_UNMANAGED = 3,
	ID_HEALTH = 4,
	ID_INIT = 5,
	ID_REMOTE_NODE = 6,
	ID_KUBE_APISERVER = 7,
	ID_INGRESS = 8,
	ID_WORLD_IPV4 = 9,
	ID_WORLD_IPV6 = 10,
};

/* ipcache4, ipcache6: address -> identity of pods and nodes of the cluster (outside addresses are not in it). */
struct ipcache4_key {
	__be32 address;
};
ASSERT_SIZE(struct ipcache4_key, 4);

struct ipcache6_key {
	struct address address;
};
ASSERT_SIZE(struct ipcache6_key, 16);

enum ipcache_flags {
	IPCACHE_LOCAL_NODE = 1 << 0, /* an address of this node itself: hand it to the stack */
	IPCACHE_NODE = 1 << 1,	     /* an address of any node */
};

struct ipcache_value {
	__u32 identity;
	__u32 flags;
};
ASSERT_SIZE(struct ipcache_value, 8);

/* cluster_prefix4/6 (LPM): prefixes that belong to the cluster (pod CIDRs of all nodes). An address inside without an
 * ipcache entry is ID_UNMANAGED, never world: a new pod must not be taken for the outside while its identity is new. */
struct prefix4_key {
	__u32 prefixlen; /* 0-32 */
	__be32 address;
};
ASSERT_SIZE(struct prefix4_key, 8);

struct prefix6_key {
	__u32 prefixlen; /* 0-128 */
	struct address address;
};
ASSERT_SIZE(struct prefix6_key, 20);

/* ---- endpoints (pods of this node) ------------------------------------------------------------------------------ */

enum endpoint_flags {
	ENDPOINT_CLOSED = 1 << 0,	/* its policy is not in the kernel yet: everything is dropped */
	ENDPOINT_ENFORCE_EGRESS = 1 << 1, /* egress default is deny; else what no group names is allowed */
	ENDPOINT_ENFORCE_INGRESS = 1 << 2,
	ENDPOINT_AUDIT = 1 << 3,	/* would-be policy drops are reported and let through */
	ENDPOINT_POLICY_EGRESS = 1 << 4, /* the set has groups in this direction: look them up (denies, even without default deny) */
	ENDPOINT_POLICY_INGRESS = 1 << 5,
};

/* endpoint: ifindex of the host side of the pod's veth -> the pod. endpoint_addr holds the same value under each
 * of its addresses (IPv4 as ::ffff:a.b.c.d). Written under both keys: endpoint_addr first when it opens, last when it goes. */
struct endpoint {
	__u32 ifindex;	 /* of the host side */
	__u32 identity;
	__u32 policy_set; /* key of policy_* maps, 0: none */
	__u32 policy_revision; /* of what is in the kernel for this endpoint; > 0; a conntrack entry with another is looked up again */
	__u32 flags;	 /* enum endpoint_flags */
	__be32 ipv4;	 /* 0: none */
	struct address ipv6; /* all zero: none */
	__u8 pod_mac[6];
	__u8 host_mac[6];
	__u32 id;	 /* number of the endpoint on this node, in events */
};
ASSERT_SIZE(struct endpoint, 56);

/* host_endpoint (array, one entry): the node itself, in the same form: no device, no addresses, id 0. Flags 0: no policy of nodes
 * selects it, and its traffic is neither judged nor tracked. It is never ENDPOINT_CLOSED. */

struct endpoint_key {
	__u32 ifindex;
};
ASSERT_SIZE(struct endpoint_key, 4);

struct endpoint_address_key {
	struct address address;
};
ASSERT_SIZE(struct endpoint_address_key, 16);

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum device_flags {
	DEVICE_UPLINK = 1 << 0,
	DEVICE_L3 = 1 << 1, /* no Ethernet header (kube-router's tun-*) */
};

/* device: ifindex -> what from_network and the delivery to other nodes must know of it. */
struct device_key {
	__u32 ifindex;
};
ASSERT_SIZE(struct device_key, 4);

struct device {
	__u32 flags; /* enum device_flags */
	__u32 mtu;
};
ASSERT_SIZE(struct device, 8);

/* ---- policy: rule-group bit vectors ------------------------------------------------------------------------------ */

#define POLICY_WORDS 8 /* 512 groups a direction */

enum direction {
	DIRECTION_EGRESS = 0,
	DIRECTION_INGRESS = 1,
};

/* Bit g of word g/64 is group g. Groups are ordered: denies, then allows, then L7 redirects; the lowest set bit wins. */
struct policy_bits {
	__u64 words[POLICY_WORDS];
};
ASSERT_SIZE(struct policy_bits, 64);

/* set_direction = policy_set << 1 | enum direction */
struct policy_peer_key {
	__u32 set_direction;
	__u32 identity; /* 0: groups for any peer */
};
ASSERT_SIZE(struct policy_peer_key, 8);

/* LPM. prefixlen counts set_direction too: 32 + length of the prefix. The longest prefix carries the bits of all shorter
 * ones that hold, exceptions already taken out. */
struct policy_prefix4_key {
	__u32 prefixlen; /* 32-64 */
	__be32 set_direction; /* big endian, as LPM compares bytes; any fixed order would do */
	__be32 address;
};
ASSERT_SIZE(struct policy_prefix4_key, 12);

struct policy_prefix6_key {
	__u32 prefixlen; /* 32-160 */
	__be32 set_direction;
	struct address address;
};
ASSERT_SIZE(struct policy_prefix6_key, 24);

/* LPM. 32: groups that name no port (every protocol); 40: every port of a protocol; 40 + n: ports. The longest prefix
 * carries the bits of the shorter ones. ICMP and ICMPv6: port is type << 8 (so one type is 40 + 8). */
struct policy_port_key {
	__u32 prefixlen; /* 32-56 */
	__be32 set_direction;
	__u8 protocol;
	__u8 port[2]; /* network byte order; bytes, so that the prefix runs on from the protocol */
	__u8 pad;
};
ASSERT_SIZE(struct policy_port_key, 12);

enum policy_set_flags {
	POLICY_SET_PREFIX4 = 1 << 0, /* has policy_prefix4 entries in this direction */
	POLICY_SET_PREFIX6 = 1 << 1,
};

/* flags >> 8: that many groups come before the denies and allow, whatever is denied: what keeps a node from locking itself out */
#define POLICY_SET_GUARDS_SHIFT 8

/* policy_set: set_direction -> shape of one direction of a set. */
struct policy_set_key {
	__u32 set_direction;
};
ASSERT_SIZE(struct policy_set_key, 4);

struct policy_set {
	__u16 words;   /* words in use, 1-8 */
	__u16 flags;   /* enum policy_set_flags, and the number of guards */
	__u16 denies;  /* the first groups behind the guards deny */
	__u16 allows;  /* those behind them allow; the rest redirects to the proxy (closed while there is none) */
	struct policy_bits outside_only; /* groups of policy_prefix that hold for peers outside of the cluster only */
};
ASSERT_SIZE(struct policy_set, 72);

/* ---- conntrack --------------------------------------------------------------------------------------------------- */

/* The key is the sorted tuple, so both directions find it with one lookup: (address, port) of `low` < those of `high` by
 * memory order. ICMP echo: the requester's port is the identifier, the responder's is 0x0800 (v6: 0x8000);
 * other ICMP queries: 0 and type << 8 | code. Protocols without ports: 0 and 0. */
struct ct4_key {
	__be32 low_address;
	__be32 high_address;
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct ct4_key, 16);

struct ct6_key {
	struct address low_address;
	struct address high_address;
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct ct6_key, 40);

enum ct_flags {
	CT_INITIATOR_LOW = 1 << 0, /* the low end opened the flow */
	CT_REPLIED = 1 << 1,	   /* a packet of the other end was seen */
	CT_SYN = 1 << 2,	   /* TCP: the opening SYN was seen */
	CT_ESTABLISHED = 1 << 3,   /* TCP: the initiator's ACK after the reply was seen */
	CT_FIN_INITIATOR = 1 << 4,
	CT_FIN_RESPONDER = 1 << 5,
	CT_RST = 1 << 6,	   /* the last packet was a RST; a later one takes it back, for a RST may be forged */
	CT_SERVICE = 1 << 7,	/* not a flow: client and VIP; nat_* is the chosen backend */
	/* nat_* is the VIP that replies of the responder must show. Port 0: the initiator has another port towards the responder, and nat4 or nat6 says which
	 * tuple replies get (clash.h). With CT_SERVICE: there is such an entry for what the client sends. */
	CT_NAT = 1 << 8,
	CT_LOOPBACK = 1 << 9,	/* a pod reaching itself through its service: the initiator's address was replaced */
	CT_DENIED_AUDIT = 1 << 10, /* let through by audit mode only */
	CT_LOCAL = 1 << 11,	/* both ends are on this node: two pods, or a pod and the node itself */
	CT_STACK = 1 << 12,	/* the stack brought it to the pod, where rules of others may have changed it (portmap's): replies go through it too */
	CT_MASQUERADE = 1 << 13, /* what the initiator, a pod, sends leaves under this node's address */
	CT_DSR = 1 << 14,	/* other nodes send packets of it on: they come to the backend's address, without the service's */
	CT_PROXY = 1 << 15,	/* the L7 proxy of this node is between its ends; stays so until it is opened anew */
};

struct ct_entry {
	__u32 last_used;	/* seconds of CLOCK_MONOTONIC; written only when it changes */
	__u32 created;		/* seconds of CLOCK_MONOTONIC */
	__u32 egress_revision;	/* policy_revision at which the initiator's egress was allowed; 0: the initiator is not local or not judged */
	__u32 ingress_revision; /* likewise for the responder's ingress */
	__u16 flags;		/* enum ct_flags */
	__be16 nat_port;
	__u32 nat_id;		/* of the service table (struct service.id) */
	struct address nat_address;
};
ASSERT_SIZE(struct ct_entry, 40);

/* ---- the L7 proxy ------------------------------------------------------------------------------------------------- */

#define PROXY_WORKERS 64

/* proxy_socket: kind * PROXY_WORKERS + worker -> a socket that takes what opens a flow. A closed one is gone from there. */
enum proxy_kind {
	PROXY_TCP4 = 0,
	PROXY_TCP6 = 1,
	PROXY_UDP4 = 2,
	PROXY_UDP6 = 3,
	PROXY_KINDS = 4,
};

/* How packets come to those sockets. */
enum proxy_redirect {
	PROXY_REDIRECT_NONE = 0, /* not at all: what L7 rules are about is closed */
	PROXY_REDIRECT_ASSIGN = 1, /* bpf_sk_assign */
	PROXY_REDIRECT_TPROXY = 2, /* a mark, and a table of nft that looks for the socket */
};

/* Ports of the sockets that take what opens a flow, on loopback: a mark has room for which of these it is. Nobody has the first one. */
enum proxy_port {
	PROXY_PORT_NOBODY = 15600,
	PROXY_PORT_FIRST = 15601,
	PROXY_PORT_LAST = 15855,
};

/* proxy (array, one entry) */
struct proxy {
	__u32 workers;	  /* 0: none, up to PROXY_WORKERS */
	__u32 generation; /* of who wrote it; goes up */
};
ASSERT_SIZE(struct proxy, 8);

/* Fragments: the ports of the first fragment, for the others. */
struct fragment_key {
	struct address source;
	struct address destination;
	__be32 id;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct fragment_key, 40);

struct fragment_ports {
	__be16 source;
	__be16 destination;
};
ASSERT_SIZE(struct fragment_ports, 4);

/* ---- services ---------------------------------------------------------------------------------------------------- */

/* A service has an entry for each kind of client that it serves, with the backends that are for them. */
enum service_scope {
	SCOPE_INSIDE = 0,  /* pods of this node, and the node */
	SCOPE_OUTSIDE = 1, /* whoever comes by an uplink */
};

struct service4_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 scope; /* enum service_scope */
};
ASSERT_SIZE(struct service4_key, 8);

struct service6_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 scope; /* enum service_scope */
};
ASSERT_SIZE(struct service6_key, 20);

enum service_flags {
	SERVICE_AFFINITY = 1 << 0, /* sessionAffinity: ClientIP */
	SERVICE_EXTERNAL = 1 << 1, /* an address that clients outside may use too */
	SERVICE_HASHED = 1 << 2,   /* a hash of the client chooses the backend; else chance does */
	SERVICE_DSR = 1 << 3,      /* backends on other nodes answer clients outside themselves */
	SERVICE_RANGES = 1 << 4,   /* only some of them: source_rule says which; nobody, if it says nothing */
};

/* flags >> 8: slots of the service's table in maglev; 0: it has none there, and hashes are spread over its backends as they are */
#define SERVICE_MAGLEV_SHIFT 8

/* A change of backends fills a new table under a new id and switches the service with one write: a reader never sees half. */
struct service {
	__u32 id;	    /* of the table in service_backend */
	__u32 backends;	    /* slots 0 .. backends-1; 0: refused */
	__u32 flags;	    /* enum service_flags */
	__u32 affinity_seconds;
};
ASSERT_SIZE(struct service, 16);

/* service_flows (per CPU): struct service6_key, IPv4 mapped -> flows that clients of this scope began there. Made by the programs. */
struct service_flows {
	__u64 begun;
};
ASSERT_SIZE(struct service_flows, 8);

struct service_backend_key {
	__u32 service; /* struct service.id */
	__u32 slot;
};
ASSERT_SIZE(struct service_backend_key, 8);

struct service_backend {
	struct address address;
	__be16 port;
	__u16 pad;
};
ASSERT_SIZE(struct service_backend, 20);

/* maglev: which backend has which slot. A table lies in chunks of 128 bytes; a slot is one byte while the service has up to 256 backends,
 * else two (little endian). A hash h of 32 bits picks slot h * slots >> 32. */
#define MAGLEV_CHUNK 128
#define MAGLEV_NARROW 256

struct maglev_key {
	__u32 service; /* struct service.id */
	__u32 chunk;
};
ASSERT_SIZE(struct maglev_key, 8);

struct maglev_chunk {
	__u8 slots[MAGLEV_CHUNK]; /* slots of service_backend */
};
ASSERT_SIZE(struct maglev_chunk, 128);

/* source_rule4/6: a frontend for clients outside -> who of them may use it. Keyed as service4/6, so that one write changes list and meaning
 * together; many frontends share a list. */
enum source_rule_flags {
	SOURCE_RULE_DENY = 1 << 0, /* all but those of the list; else those alone */
};

struct source_rule {
	__u32 list;  /* of source_range */
	__u32 flags; /* enum source_rule_flags */
};
ASSERT_SIZE(struct source_rule, 8);

/* source_range4/6 (LPM): what is there under the number of a list is in the list. prefixlen counts the number too. */
struct source_range4_key {
	__u32 prefixlen; /* 32-64 */
	__be32 list;	 /* big endian, as LPM compares bytes; any fixed order would do */
	__be32 address;
};
ASSERT_SIZE(struct source_range4_key, 12);

struct source_range6_key {
	__u32 prefixlen; /* 32-160 */
	__be32 list;
	struct address address;
};
ASSERT_SIZE(struct source_range6_key, 24);

struct source_range {
	__u32 listed; /* 1 */
};
ASSERT_SIZE(struct source_range, 4);

/* service_address: an address of services, IPv4 mapped. */
struct service_address_key {
	struct address address;
};
ASSERT_SIZE(struct service_address_key, 16);

struct service_address {
	__u32 scopes; /* 1 << enum service_scope: which clients it is for */
};
ASSERT_SIZE(struct service_address, 4);

/* node_port: ports of this node that are for services: its own servers may not have them. */
struct node_port_key {
	__be16 port;
	__u8 protocol;
	__u8 pad;
};
ASSERT_SIZE(struct node_port_key, 4);

enum affinity_client {
	AFFINITY_ADDRESS = 0, /* an address, per packet */
	AFFINITY_NETNS = 1,   /* a network namespace (its cookie), at the socket */
	AFFINITY_SOCKET = 2,  /* a socket (its cookie) that sends datagrams: they go where its first one went */
};

/* affinity (LRU): the backend that a client of a service had last. */
struct affinity_key {
	struct address client; /* or a cookie in the first 8 bytes */
	struct address service;
	__be16 port;
	__u8 protocol;
	__u8 kind; /* enum affinity_client */
};
ASSERT_SIZE(struct affinity_key, 36);

struct affinity {
	struct address address;
	__be16 port;
	__u16 pad;
	__u32 service;	 /* struct service.id when it was checked last */
	__u32 last_used; /* seconds of CLOCK_MONOTONIC */
};
ASSERT_SIZE(struct affinity, 28);

/* sock_reverse (LRU): what recvmsg and getpeername show instead of the backend. */
struct sock_reverse_key {
	__u64 cookie;
	struct address backend;
	__be16 port;
	__u8 pad[6];
};
ASSERT_SIZE(struct sock_reverse_key, 32);

struct sock_reverse {
	struct address address;
	__be16 port;
	__u8 pad[2];
};
ASSERT_SIZE(struct sock_reverse, 20);

/* kernel_flow: a packet of a connection that the kernel's own conntrack leads to another destination, in either direction. Copied by the agent where
 * programs cannot ask (config_kernel_conntrack). IPv4 mapped. */
struct kernel_flow_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct kernel_flow_key, 40);

/* ---- what changes its source --------------------------------------------------------------------------------------- */

/* nat4, nat6: a tuple as a packet has it -> the tuple that it gets. Every flow whose source this node replaces has two entries: what its
 * initiator sends (pod or client -> peer or service), and what answers to the node's address and port (NAT_BACK), so that a packet of
 * either direction is rewritten with what one lookup finds. The second one is what holds the port. Unlike conntrack none is forgotten
 * to make room, for a port cannot be derived again. ICMP echo: both ports of conntrack's keys. */
struct nat4_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct nat4_key, 16);

struct nat6_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};
ASSERT_SIZE(struct nat6_key, 40);

/* Beside these, state as in enum ct_flags (replied, established, closed). Only the entry of the initiator keeps it. */
enum nat_flags {
	NAT_BACK = 1 << 13,    /* of answers; its initiator's entry has this value as the key, with the ends swapped */
	NAT_SERVICE = 1 << 14, /* to a service's backend, on another node or with another port of the client's (clash.h); else masqueraded */
};

struct nat4_entry {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 flags; /* enum nat_flags and ct_flags */
	__u16 pad;
	__u32 last_used; /* seconds of CLOCK_MONOTONIC; NAT_BACK: when it was made */
	__u32 table;	 /* NAT_SERVICE: struct service.id */
};
ASSERT_SIZE(struct nat4_entry, 24);

struct nat6_entry {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 flags;
	__u16 pad;
	__u32 last_used;
	__u32 table;
};
ASSERT_SIZE(struct nat6_entry, 48);

/* Direct server return: which service a client used, from the node that it came to, to that of the backend. In IPv4 an option behind the header
 * (RFC 791 3.1), in IPv6 a header of destination options (RFC 8200 4.6); the numbers are those for experiments (RFC 4727 3.4, 4.3). */
struct dsr4_option {
	__u8 type; /* DSR4_OPTION */
	__u8 length; /* 8 */
	__be16 port;
	__be32 address;
};
ASSERT_SIZE(struct dsr4_option, 8);

struct dsr6_header {
	__u8 next;
	__u8 words;  /* of 8 bytes, but for the first: 2 */
	__u8 type;   /* DSR6_OPTION */
	__u8 length; /* of what follows: 20 */
	__be16 port;
	__u16 pad;
	struct address address;
};
ASSERT_SIZE(struct dsr6_header, 24);

#define DSR4_OPTION 0x9e
#define DSR6_OPTION 0x1e

/* native_prefix4/6 (LPM): where pods' own addresses are known, so that what goes there keeps its source. */
enum native_flags {
	NATIVE_KEEP = 1 << 0, /* 0 in a longer prefix makes an exception */
};

struct native_prefix {
	__u32 flags; /* enum native_flags */
};
ASSERT_SIZE(struct native_prefix, 4);

/* device_address: ifindex -> the source of what leaves there in this node's name. */
struct device_address {
	__be32 ipv4; /* 0: none */
	struct address ipv6; /* all zero: none */
};
ASSERT_SIZE(struct device_address, 20);

/* ---- what is seen ------------------------------------------------------------------------------------------------ */

/* metrics (per CPU): index is reason << 1 | direction; reason 0 is forwarded. */
struct metrics_value {
	__u64 packets;
	__u64 bytes;
};
ASSERT_SIZE(struct metrics_value, 16);

enum event_type {
	EVENT_DROP = 1,
	EVENT_VERDICT = 2, /* first packet of a flow at an end that has policy, or a verdict that changed */
	EVENT_NEW_FLOW = 3, /* first packet of a flow; only while settings.trace */
};

enum event_flags {
	EVENT_ALLOWED = 1 << 0,
	EVENT_AUDIT = 1 << 1,
	EVENT_REPLY = 1 << 2,
	EVENT_IPV6 = 1 << 3,
	EVENT_PROXY = 1 << 4, /* allowed as far as the L7 proxy, which has the last word */
};

struct event {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u8 type;  /* enum event_type */
	__u8 reason; /* enum reason */
	__u8 direction; /* enum direction: which end's verdict */
	__u8 protocol;
	__u16 flags; /* enum event_flags */
	__u16 group; /* lowest group that was set, 0xffff: none */
	__u32 source_identity;
	__u32 destination_identity;
	struct address source;
	struct address destination;
	__be16 source_port; /* ICMP: 0 */
	__be16 destination_port; /* ICMP: type << 8 | code */
	__u32 ifindex;
	__u32 endpoint; /* struct endpoint.id, 0: none */
	__u32 policy_set;
	__u32 length; /* bytes of the packet */
	__u32 pad;
};
ASSERT_SIZE(struct event, 80);

/* settings (array, one entry): what may change while programs run. */
struct settings {
	__u32 trace;	   /* 1: EVENT_NEW_FLOW of every flow */
	__u32 drop_events_per_second; /* per CPU; 0: no limit */
};
ASSERT_SIZE(struct settings, 8);

struct drop_budget {
	__u32 second;
	__u32 used;
};
ASSERT_SIZE(struct drop_budget, 8);

/* events_lost (per CPU array, one entry): records for which the ring had no room. */

#endif
