/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every map, one sentence each. All are pinned by name below the node's bpffs folder, so that programs of several
 * objects share them and they outlive the agent. */
#ifndef TANDEM_MAPS_H
#define TANDEM_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "limits.h"
#include "reasons.h"
#include "types.h"

#define MAP(name_, type_, key_, value_, entries_, flags_)                                                              \
	struct {                                                                                                       \
		__uint(type, type_);                                                                                   \
		__type(key, key_);                                                                                     \
		__type(value, value_);                                                                                 \
		__uint(max_entries, entries_);                                                                         \
		__uint(map_flags, flags_);                                                                             \
		__uint(pinning, LIBBPF_PIN_BY_NAME);                                                                   \
	} name_ SEC(".maps")

/* Pods of this node by the host side of their veth. */
MAP(endpoint, BPF_MAP_TYPE_HASH, struct endpoint_key, struct endpoint, LIMIT_ENDPOINTS, 0);
/* The same pods by address. */
MAP(endpoint_addr, BPF_MAP_TYPE_HASH, struct endpoint_address_key, struct endpoint, LIMIT_ENDPOINTS * 2, 0);
/* The node itself, if a policy selects it. */
MAP(host_endpoint, BPF_MAP_TYPE_ARRAY, __u32, struct endpoint, 1, 0);
/* Uplinks and tunnel devices. */
MAP(device, BPF_MAP_TYPE_HASH, struct device_key, struct device, LIMIT_DEVICES, 0);

/* Identity of pods and nodes of the whole cluster. */
MAP(ipcache4, BPF_MAP_TYPE_HASH, struct ipcache4_key, struct ipcache_value, LIMIT_IPCACHE, BPF_F_NO_PREALLOC);
MAP(ipcache6, BPF_MAP_TYPE_HASH, struct ipcache6_key, struct ipcache_value, LIMIT_IPCACHE, BPF_F_NO_PREALLOC);
/* Prefixes inside of which an unknown address is a pod that we do not know yet, not the outside. */
MAP(cluster_prefix4, BPF_MAP_TYPE_LPM_TRIE, struct prefix4_key, struct ipcache_value, LIMIT_CLUSTER_PREFIXES, BPF_F_NO_PREALLOC);
MAP(cluster_prefix6, BPF_MAP_TYPE_LPM_TRIE, struct prefix6_key, struct ipcache_value, LIMIT_CLUSTER_PREFIXES, BPF_F_NO_PREALLOC);

/* Shape of each direction of each policy set. */
MAP(policy_set, BPF_MAP_TYPE_HASH, struct policy_set_key, struct policy_set, LIMIT_POLICY_SETS, BPF_F_NO_PREALLOC);
/* Groups that name a peer identity. */
MAP(policy_peer, BPF_MAP_TYPE_HASH, struct policy_peer_key, struct policy_bits, LIMIT_POLICY_PEERS, BPF_F_NO_PREALLOC);
/* Groups that name a prefix. */
MAP(policy_prefix4, BPF_MAP_TYPE_LPM_TRIE, struct policy_prefix4_key, struct policy_bits, LIMIT_POLICY_PREFIXES, BPF_F_NO_PREALLOC);
MAP(policy_prefix6, BPF_MAP_TYPE_LPM_TRIE, struct policy_prefix6_key, struct policy_bits, LIMIT_POLICY_PREFIXES, BPF_F_NO_PREALLOC);
/* Groups whose ports hold a port. */
MAP(policy_port, BPF_MAP_TYPE_LPM_TRIE, struct policy_port_key, struct policy_bits, LIMIT_POLICY_PORTS, BPF_F_NO_PREALLOC);

/* Flows. LRU: a full table forgets the flow that was idle longest instead of refusing a new one. */
MAP(ct4, BPF_MAP_TYPE_LRU_HASH, struct ct4_key, struct ct_entry, LIMIT_CT4, 0);
MAP(ct6, BPF_MAP_TYPE_LRU_HASH, struct ct6_key, struct ct_entry, LIMIT_CT6, 0);
/* Ports of fragmented datagrams. */
MAP(fragment, BPF_MAP_TYPE_LRU_HASH, struct fragment_key, struct fragment_ports, LIMIT_FRAGMENTS, 0);

/* Where flows begin that L7 rules are about, */
MAP(proxy_socket, BPF_MAP_TYPE_SOCKMAP, __u32, __u64, PROXY_KINDS * PROXY_WORKERS, 0);
/* and how many have a part of them. */
MAP(proxy, BPF_MAP_TYPE_ARRAY, __u32, struct proxy, 1, 0);

/* Service addresses. */
MAP(service4, BPF_MAP_TYPE_HASH, struct service4_key, struct service, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
MAP(service6, BPF_MAP_TYPE_HASH, struct service6_key, struct service, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
/* Their backends, in numbered slots of a table. */
MAP(service_backend, BPF_MAP_TYPE_HASH, struct service_backend_key, struct service_backend, LIMIT_BACKENDS, BPF_F_NO_PREALLOC);
/* Which of them a hash picks, for services that do not leave it to chance. */
MAP(maglev, BPF_MAP_TYPE_HASH, struct maglev_key, struct maglev_chunk, LIMIT_MAGLEV, BPF_F_NO_PREALLOC);
/* Flows that began at a service's address. */
MAP(service_flows, BPF_MAP_TYPE_PERCPU_HASH, struct service6_key, struct service_flows, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
/* Which clients outside may use a service's address, by the number of a list, */
MAP(source_rule4, BPF_MAP_TYPE_HASH, struct service4_key, struct source_rule, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
MAP(source_rule6, BPF_MAP_TYPE_HASH, struct service6_key, struct source_rule, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
/* and the prefixes of each list. */
MAP(source_range4, BPF_MAP_TYPE_LPM_TRIE, struct source_range4_key, struct source_range, LIMIT_SOURCE_RANGES, BPF_F_NO_PREALLOC);
MAP(source_range6, BPF_MAP_TYPE_LPM_TRIE, struct source_range6_key, struct source_range, LIMIT_SOURCE_RANGES, BPF_F_NO_PREALLOC);
/* Addresses that services have, whatever their ports. */
MAP(service_address, BPF_MAP_TYPE_HASH, struct service_address_key, struct service_address, LIMIT_SERVICES, BPF_F_NO_PREALLOC);
/* Ports of the node that services have. */
MAP(node_port, BPF_MAP_TYPE_HASH, struct node_port_key, __u32, LIMIT_NODE_PORTS, BPF_F_NO_PREALLOC);
/* Which backend a client had, for services that keep it. */
MAP(affinity, BPF_MAP_TYPE_LRU_HASH, struct affinity_key, struct affinity, LIMIT_AFFINITY, 0);
/* Translated sockets: what they believe to talk to. */
MAP(sock_reverse, BPF_MAP_TYPE_LRU_HASH, struct sock_reverse_key, struct sock_reverse, LIMIT_SOCK_REVERSE, 0);
/* Connections that others' rules began, where programs cannot ask the kernel. */
MAP(kernel_flow, BPF_MAP_TYPE_HASH, struct kernel_flow_key, __u32, LIMIT_KERNEL_FLOWS, BPF_F_NO_PREALLOC);

/* Flows whose source this node replaces. A full table refuses new ones. */
MAP(nat4, BPF_MAP_TYPE_HASH, struct nat4_key, struct nat4_entry, LIMIT_NAT4, BPF_F_NO_PREALLOC);
MAP(nat6, BPF_MAP_TYPE_HASH, struct nat6_key, struct nat6_entry, LIMIT_NAT6, BPF_F_NO_PREALLOC);
/* Where pods are known by their own addresses. */
MAP(native_prefix4, BPF_MAP_TYPE_LPM_TRIE, struct prefix4_key, struct native_prefix, LIMIT_NATIVE_PREFIXES, BPF_F_NO_PREALLOC);
MAP(native_prefix6, BPF_MAP_TYPE_LPM_TRIE, struct prefix6_key, struct native_prefix, LIMIT_NATIVE_PREFIXES, BPF_F_NO_PREALLOC);
/* The node's own address on each device. */
MAP(device_address, BPF_MAP_TYPE_HASH, struct device_key, struct device_address, LIMIT_DEVICES, 0);

/* Packets and bytes per reason and direction. */
MAP(metrics, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct metrics_value, REASON_COUNT * 2, 0);
/* Settings that change at run time. */
MAP(settings, BPF_MAP_TYPE_ARRAY, __u32, struct settings, 1, 0);
/* Events without room in the ring. */
MAP(events_lost, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);

/* Records of drops that this CPU may still make in this second. */
MAP(drop_budget, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct drop_budget, 1, 0);

/* Drops, verdicts and traces to the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LIMIT_EVENT_RING);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

#endif
