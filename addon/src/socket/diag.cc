// SPDX-License-Identifier: Apache-2.0
#include "socket/diag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "netlink/connection.h"

namespace tandem {
namespace {

using Targets = std::unordered_multimap<uint64_t, const DiagTarget*>;

uint64_t cookie_of(const inet_diag_sockid& id) { return id.idiag_cookie[0] | uint64_t{id.idiag_cookie[1]} << 32; }

std::array<uint8_t, 16> peer_of(uint8_t family, const inet_diag_sockid& id) {
  std::array<uint8_t, 16> address{};
  if (family == AF_INET) {
    address[10] = address[11] = 0xff;
    memcpy(address.data() + 12, id.idiag_dst, 4);
  } else {
    memcpy(address.data(), id.idiag_dst, 16);
  }
  return address;
}

bool is_wanted(const Targets& targets, uint8_t family, const inet_diag_sockid& id) {
  auto [from, to] = targets.equal_range(cookie_of(id));
  return std::any_of(from, to, [&](const auto& each) {
    return each.second->address == peer_of(family, id) && htons(each.second->port) == id.idiag_dport;
  });
}

inet_diag_req_v2 request_of(uint8_t family) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = IPPROTO_UDP;
  request.idiag_states = 1u << TCP_ESTABLISHED;  // connected, for datagrams too
  return request;
}

template <typename Wanted>
std::vector<inet_diag_sockid> find(Connection& netlink, uint8_t family, Wanted is_wanted) {
  std::vector<inet_diag_sockid> found;
  Message message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  message.body(request_of(family));
  netlink.dump("UDP sockets", message, [&] { found.clear(); }, [&](const nlmsghdr* header) {
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return;
    const auto* socket = static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
    if (is_wanted(socket->id)) found.push_back(socket->id);
  });
  return found;
}

}  // namespace

std::vector<sock_reverse_key> connected_datagram_sockets() {
  Connection netlink(0, 1 << 20, NETLINK_SOCK_DIAG);
  std::vector<sock_reverse_key> sockets;
  for (uint8_t family : {AF_INET, AF_INET6}) {
    for (const inet_diag_sockid& id : find(netlink, family, [](const auto&) { return true; })) {
      const auto peer = peer_of(family, id);
      sock_reverse_key key{};
      key.cookie = cookie_of(id);
      memcpy(key.backend.bytes, peer.data(), peer.size());
      key.port = id.idiag_dport;
      sockets.push_back(key);
    }
  }
  return sockets;
}

uint32_t destroy_datagram_sockets(const std::vector<DiagTarget>& targets) {
  Targets by_cookie;
  for (const DiagTarget& target : targets) by_cookie.emplace(target.cookie, &target);
  Connection netlink(0, 1 << 20, NETLINK_SOCK_DIAG);
  uint32_t destroyed = 0;
  for (uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<Message> messages;
    for (const inet_diag_sockid& id : find(netlink, family, [&](const auto& id) { return is_wanted(by_cookie, family, id); })) {
      inet_diag_req_v2 request = request_of(family);
      request.id = id;
      messages.emplace_back(SOCK_DESTROY, NLM_F_ACK).body(request);
    }
    for (const Reply& reply : netlink.request_all(messages)) {
      if (!reply.error) destroyed++;
      // Closed, or connected to somebody else meanwhile.
      else if (reply.error != ENOENT) throw Failure(reply.error, "destroy", "a UDP socket", reply.text);
    }
  }
  return destroyed;
}

}  // namespace tandem
