// SPDX-License-Identifier: Apache-2.0
#include "l7/ends.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <tandem/types.h>

#include <cerrno>
#include <cstring>

#include "napi/failure.h"

namespace tandem::l7 {
namespace {

Descriptor open_map(const std::string& bpffs, const char* name) {
  const std::string path = bpffs + "/maps/" + name;
  Descriptor map(bpf_obj_get(path.c_str()));
  if (map.get() < 0) throw Failure(errno, "open map", path);
  return map;
}

template <typename Key, typename Value>
bool find(const Descriptor& map, const Key& key, Value& value) {
  return bpf_map_lookup_elem(map.get(), &key, &value) == 0;
}

bool find_endpoint(const Descriptor& map, const Address& at, endpoint& found) {
  endpoint_address_key key;
  memcpy(key.address.bytes, at.bytes.data(), 16);
  return find(map, key, found);
}

bool is_outside(uint32_t identity) { return identity == ID_WORLD || identity == ID_WORLD_IPV4 || identity == ID_WORLD_IPV6; }

}  // namespace

Ends::Ends(const std::string& bpffs)
    : endpoint_addr_(open_map(bpffs, "endpoint_addr")),
      ipcache4_(open_map(bpffs, "ipcache4")),
      ipcache6_(open_map(bpffs, "ipcache6")),
      cluster_prefix4_(open_map(bpffs, "cluster_prefix4")),
      cluster_prefix6_(open_map(bpffs, "cluster_prefix6")),
      policy_set_(open_map(bpffs, "policy_set")),
      policy_peer_(open_map(bpffs, "policy_peer")),
      policy_prefix4_(open_map(bpffs, "policy_prefix4")),
      policy_prefix6_(open_map(bpffs, "policy_prefix6")),
      policy_port_(open_map(bpffs, "policy_port")) {}

Ends::Revision Ends::revision(const Address& client, const Address& server) const {
  Revision made;
  endpoint found;
  if (find_endpoint(endpoint_addr_, client, found)) made.egress = found.policy_revision;
  if (find_endpoint(endpoint_addr_, server, found)) made.ingress = found.policy_revision;
  return made;
}

Demands Ends::demands(const Address& client, const Address& server, uint8_t protocol, const Tables& tables) const {
  return {end(false, client, server, protocol, server.port, tables), end(true, server, client, protocol, server.port, tables)};
}

uint32_t Ends::identity_of(const Address& address) const {
  ipcache_value value;
  if (address.is_ipv4()) {
    ipcache4_key key;
    memcpy(&key.address, address.bytes.data() + 12, 4);
    if (find(ipcache4_, key, value)) return value.identity;
    const prefix4_key prefix{32, key.address};
    return find(cluster_prefix4_, prefix, value) ? value.identity : uint32_t{ID_WORLD_IPV4};
  }
  ipcache6_key key;
  memcpy(key.address.bytes, address.bytes.data(), 16);
  if (find(ipcache6_, key, value)) return value.identity;
  prefix6_key prefix{};
  prefix.prefixlen = 128;
  prefix.address = key.address;
  return find(cluster_prefix6_, prefix, value) ? value.identity : uint32_t{ID_WORLD_IPV6};
}

bool Ends::is_of_node(const Address& address) const {
  ipcache_value value;
  if (address.is_ipv4()) {
    ipcache4_key key;
    memcpy(&key.address, address.bytes.data() + 12, 4);
    return find(ipcache4_, key, value) && value.flags & IPCACHE_LOCAL_NODE;
  }
  ipcache6_key key;
  memcpy(key.address.bytes, address.bytes.data(), 16);
  return find(ipcache6_, key, value) && value.flags & IPCACHE_LOCAL_NODE;
}

End Ends::end(bool ingress, const Address& here, const Address& peer, uint8_t protocol, uint16_t port, const Tables& tables) const {
  End made;
  endpoint pod;
  const bool is_pod = find_endpoint(endpoint_addr_, here, pod);
  if (!is_pod) {
    made.identity = identity_of(here);
    return made;
  }
  made.identity = pod.identity;
  made.endpoint = pod.id;
  made.policy_set = pod.policy_set;
  if (pod.flags & ENDPOINT_CLOSED) {
    made.stance = Stance::refused;
    return made;
  }
  const bool enforced = pod.flags & (ingress ? ENDPOINT_ENFORCE_INGRESS : ENDPOINT_ENFORCE_EGRESS);
  const bool has_policy = pod.flags & (ingress ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS);
  if ((!enforced && !has_policy) || pod.flags & ENDPOINT_AUDIT) return made;

  const uint32_t set_direction = pod.policy_set << 1 | (ingress ? DIRECTION_INGRESS : DIRECTION_EGRESS);
  policy_set set;
  if (!find(policy_set_, policy_set_key{set_direction}, set)) {
    made.stance = Stance::unknown;
    return made;
  }
  made.stance = enforced ? Stance::refused : Stance::open;
  policy_port_key port_key{};
  port_key.prefixlen = 56;
  port_key.set_direction = htonl(set_direction);
  port_key.protocol = protocol;
  port_key.port[0] = port >> 8;
  port_key.port[1] = port & 255;
  policy_bits ports;
  if (!find(policy_port_, port_key, ports)) return made;

  endpoint other;
  const uint32_t identity = find_endpoint(endpoint_addr_, peer, other) ? other.identity : identity_of(peer);
  policy_bits bits{}, part;
  if (find(policy_peer_, policy_peer_key{set_direction, identity}, part))
    for (int word = 0; word < POLICY_WORDS; word++) bits.words[word] |= part.words[word];
  if (find(policy_peer_, policy_peer_key{set_direction, 0}, part))
    for (int word = 0; word < POLICY_WORDS; word++) bits.words[word] |= part.words[word];
  bool has_prefix = false;
  if (peer.is_ipv4() && set.flags & POLICY_SET_PREFIX4) {
    policy_prefix4_key key{64, htonl(set_direction), 0};
    memcpy(&key.address, peer.bytes.data() + 12, 4);
    has_prefix = find(policy_prefix4_, key, part);
  } else if (!peer.is_ipv4() && set.flags & POLICY_SET_PREFIX6) {
    policy_prefix6_key key{};
    key.prefixlen = 160;
    key.set_direction = htonl(set_direction);
    memcpy(key.address.bytes, peer.bytes.data(), 16);
    has_prefix = find(policy_prefix6_, key, part);
  }
  if (has_prefix) {
    const bool outside = is_outside(identity);
    for (int word = 0; word < POLICY_WORDS; word++)
      bits.words[word] |= outside ? part.words[word] : part.words[word] & ~set.outside_only.words[word];
  }

  const uint32_t guards = set.flags >> POLICY_SET_GUARDS_SHIFT;
  const uint32_t redirects = guards + set.denies + set.allows;
  for (uint32_t group = 0; group < POLICY_WORDS * 64; group++) {
    if (!((bits.words[group / 64] & ports.words[group / 64]) >> (group % 64) & 1)) continue;
    if (group < redirects) {
      made.stance = group < guards || group >= guards + set.denies ? Stance::open : Stance::refused;
      return made;
    }
    auto rules = tables.find(pod.policy_set, ingress, group);
    if (rules == nullptr) {
      made.stance = Stance::unknown;
      made.any_of.clear();
      return made;
    }
    made.stance = Stance::asks;
    made.any_of.push_back(std::move(rules));
  }
  return made;
}

}  // namespace tandem::l7
