// SPDX-License-Identifier: Apache-2.0
// From rtnetlink messages to rows, and the dumps.
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <sys/socket.h>

#include "netlink/rows.h"

namespace tandem {
namespace {

template <typename Body>
const Body* body_of(const nlmsghdr* header) {
  return header->nlmsg_len < NLMSG_LENGTH(sizeof(Body)) ? nullptr : static_cast<const Body*>(NLMSG_DATA(header));
}

template <typename Body>
Attributes attributes_of(const nlmsghdr* header) {
  size_t offset = NLMSG_SPACE(sizeof(Body));
  if (header->nlmsg_len <= offset) return Attributes(nullptr, 0);
  return Attributes(reinterpret_cast<const uint8_t*>(header) + offset, header->nlmsg_len - offset);
}

// 4, 6, or 0 for a family that is not ours.
uint8_t family_of(uint8_t af) { return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0; }

Bytes any_address(uint8_t family) { return Bytes(family == 4 ? 4 : 16, 0); }

// RTA_GATEWAY, or the gateway of another family (RTA_VIA, RFC 5549 next hops).
Bytes gateway_of(const Attributes& attributes) {
  Bytes via = attributes.bytes(RTA_VIA);
  if (via.size() > 2) return Bytes(via.begin() + 2, via.end());
  return attributes.bytes(RTA_GATEWAY);
}

template <typename Body, typename Row>
std::vector<Row> list(const char* what, uint16_t type, const Body& body, std::optional<Row> (*read)(const nlmsghdr*)) {
  Connection netlink;
  Message message(type, NLM_F_DUMP);
  message.body(body);
  if (type == RTM_GETLINK) message.attribute_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  std::vector<Row> rows;
  netlink.dump(what, message, [&] { rows.clear(); }, [&](const nlmsghdr* header) {
    if (auto row = read(header)) rows.push_back(std::move(*row));
  });
  return rows;
}

}  // namespace

std::optional<LinkRow> read_link(const nlmsghdr* header) {
  const auto* body = body_of<ifinfomsg>(header);
  if (!body || body->ifi_family == AF_BRIDGE) return std::nullopt;
  Attributes attributes = attributes_of<ifinfomsg>(header);
  LinkRow row;
  row.index = body->ifi_index;
  row.flags = body->ifi_flags;
  row.type = body->ifi_type;
  row.name = attributes.string(IFLA_IFNAME);
  row.alias = attributes.string(IFLA_IFALIAS);
  row.mtu = attributes.u32(IFLA_MTU, 0);
  row.master = attributes.u32(IFLA_MASTER, 0);
  row.address = attributes.bytes(IFLA_ADDRESS);
  Bytes operstate = attributes.bytes(IFLA_OPERSTATE);
  row.operstate = operstate.empty() ? 0 : operstate[0];
  if (const rtattr* info = attributes.find(IFLA_LINKINFO)) row.kind = Attributes(RTA_DATA(info), RTA_PAYLOAD(info)).string(IFLA_INFO_KIND);
  // of other kinds (vlan, macvlan) it is the device below
  if (row.kind == "veth" || row.kind == "netkit") row.peer_index = attributes.u32(IFLA_LINK, 0);
  return row;
}

std::optional<AddressRow> read_address(const nlmsghdr* header) {
  const auto* body = body_of<ifaddrmsg>(header);
  if (!body || !family_of(body->ifa_family)) return std::nullopt;
  Attributes attributes = attributes_of<ifaddrmsg>(header);
  AddressRow row;
  row.index = body->ifa_index;
  row.family = family_of(body->ifa_family);
  row.prefix_length = body->ifa_prefixlen;
  row.scope = body->ifa_scope;
  row.flags = attributes.u32(IFA_FLAGS, body->ifa_flags);
  row.address = attributes.bytes(IFA_LOCAL);  // of a point-to-point link IFA_ADDRESS is the peer
  if (row.address.empty()) row.address = attributes.bytes(IFA_ADDRESS);
  return row;
}

std::optional<RouteRow> read_route(const nlmsghdr* header) {
  const auto* body = body_of<rtmsg>(header);
  if (!body || !family_of(body->rtm_family) || body->rtm_flags & RTM_F_CLONED) return std::nullopt;
  Attributes attributes = attributes_of<rtmsg>(header);
  RouteRow row;
  row.family = family_of(body->rtm_family);
  row.prefix_length = body->rtm_dst_len;
  row.protocol = body->rtm_protocol;
  row.scope = body->rtm_scope;
  row.type = body->rtm_type;
  row.table = attributes.u32(RTA_TABLE, body->rtm_table);
  row.metric = attributes.u32(RTA_PRIORITY, 0);
  row.destination = attributes.bytes(RTA_DST);
  if (row.destination.empty()) row.destination = any_address(row.family);
  row.source = attributes.bytes(RTA_PREFSRC);
  if (const rtattr* metrics = attributes.find(RTA_METRICS)) {
    uint32_t mtu = Attributes(RTA_DATA(metrics), RTA_PAYLOAD(metrics)).u32(RTAX_MTU, 0);
    if (mtu) row.mtu = mtu;
  }
  // IPv6 shows the loopback device for routes that deliver to none.
  if (row.type == RTN_BLACKHOLE || row.type == RTN_UNREACHABLE || row.type == RTN_PROHIBIT || row.type == RTN_THROW) return row;
  if (const rtattr* multipath = attributes.find(RTA_MULTIPATH)) {
    auto* hop = static_cast<const rtnexthop*>(RTA_DATA(multipath));
    int left = static_cast<int>(RTA_PAYLOAD(multipath));
    while (left >= static_cast<int>(sizeof(*hop)) && RTNH_OK(hop, left)) {
      Attributes inner(RTNH_DATA(hop), hop->rtnh_len - sizeof(*hop));
      row.next_hops.push_back({gateway_of(inner), static_cast<uint32_t>(hop->rtnh_ifindex), hop->rtnh_hops + 1u});
      left -= RTNH_ALIGN(hop->rtnh_len);
      hop = RTNH_NEXT(hop);
    }
  } else if (uint32_t index = attributes.u32(RTA_OIF, 0)) {
    row.next_hops.push_back({gateway_of(attributes), index, 1});
  }
  return row;
}

std::optional<RuleRow> read_rule(const nlmsghdr* header) {
  const auto* body = body_of<fib_rule_hdr>(header);
  if (!body || !family_of(body->family)) return std::nullopt;
  Attributes attributes = attributes_of<fib_rule_hdr>(header);
  RuleRow row;
  row.family = family_of(body->family);
  row.source_length = body->src_len;
  row.action = body->action;
  row.table = attributes.u32(FRA_TABLE, body->table);
  row.priority = attributes.u32(FRA_PRIORITY, 0);
  row.mark = attributes.u32(FRA_FWMARK, 0);
  row.mask = attributes.u32(FRA_FWMASK, 0);
  row.source = attributes.bytes(FRA_SRC);
  row.iif = attributes.string(FRA_IIFNAME);
  return row;
}

std::optional<NeighbourRow> read_neighbour(const nlmsghdr* header) {
  const auto* body = body_of<ndmsg>(header);
  if (!body || !family_of(body->ndm_family)) return std::nullopt;
  Attributes attributes = attributes_of<ndmsg>(header);
  NeighbourRow row;
  row.index = body->ndm_ifindex;
  row.state = body->ndm_state;
  row.family = family_of(body->ndm_family);
  row.address = attributes.bytes(NDA_DST);
  row.lladdr = attributes.bytes(NDA_LLADDR);
  return row;
}

std::vector<LinkRow> list_links() { return list("links", RTM_GETLINK, ifinfomsg{}, read_link); }
std::vector<AddressRow> list_addresses() { return list("addresses", RTM_GETADDR, ifaddrmsg{}, read_address); }
std::vector<NeighbourRow> list_neighbours() { return list("neighbours", RTM_GETNEIGH, ndmsg{}, read_neighbour); }
std::vector<RuleRow> list_rules() { return list("rules", RTM_GETRULE, fib_rule_hdr{}, read_rule); }

std::vector<RouteRow> list_routes(uint8_t family, uint32_t table, uint8_t protocol) {
  rtmsg body{};
  body.rtm_protocol = protocol;  // strict checking: the kernel filters
  body.rtm_family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
  std::vector<RouteRow> rows = list("routes", RTM_GETROUTE, body, read_route), kept;
  for (auto& row : rows)
    if ((!table || row.table == table) && (!protocol || row.protocol == protocol)) kept.push_back(std::move(row));
  return kept;
}

}  // namespace tandem
