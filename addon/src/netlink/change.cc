// SPDX-License-Identifier: Apache-2.0
// From rows to rtnetlink messages that change something.
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "netns/netns.h"
#include "netlink/rows.h"

namespace tandem {
namespace {

uint8_t af(uint8_t family) { return family == 6 ? AF_INET6 : AF_INET; }

uint16_t flags_of(Op op) {
  switch (op) {
    case Op::add:
      return NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    case Op::replace:
      return NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    default:
      return NLM_F_ACK;
  }
}

// RTA_GATEWAY, or RTA_VIA for a next hop of the other family.
void write_gateway(Message& message, uint8_t family, const Bytes& gateway) {
  if (gateway.empty()) return;
  if (gateway.size() == (family == 4 ? 4u : 16u)) {
    message.attribute(RTA_GATEWAY, gateway);
    return;
  }
  const uint16_t via = gateway.size() == 4 ? AF_INET : AF_INET6;
  Bytes value(sizeof(via) + gateway.size());
  memcpy(value.data(), &via, sizeof(via));
  memcpy(value.data() + sizeof(via), gateway.data(), gateway.size());
  message.attribute(RTA_VIA, value);
}

}  // namespace

Message write_route(Op op, const RouteRow& route, bool onlink) {
  Message message(op == Op::remove ? RTM_DELROUTE : RTM_NEWROUTE, flags_of(op));
  rtmsg body{};
  body.rtm_family = af(route.family);
  body.rtm_dst_len = route.prefix_length;
  body.rtm_protocol = route.protocol;
  body.rtm_scope = op == Op::remove ? static_cast<uint8_t>(RT_SCOPE_NOWHERE) : route.scope;
  body.rtm_type = route.type;
  body.rtm_table = RT_TABLE_UNSPEC;
  body.rtm_flags = onlink ? RTNH_F_ONLINK : 0;
  message.body(body);
  if (route.prefix_length) message.attribute(RTA_DST, route.destination);
  message.attribute_u32(RTA_TABLE, route.table);
  if (route.metric) message.attribute_u32(RTA_PRIORITY, route.metric);
  if (!route.source.empty()) message.attribute(RTA_PREFSRC, route.source);
  if (route.mtu) {
    size_t metrics = message.open(RTA_METRICS);
    message.attribute_u32(RTAX_MTU, *route.mtu);
    message.close(metrics);
  }
  if (route.next_hops.size() == 1) {
    write_gateway(message, route.family, route.next_hops[0].gateway);
    if (route.next_hops[0].index) message.attribute_u32(RTA_OIF, route.next_hops[0].index);
  } else if (route.next_hops.size() > 1) {
    size_t multipath = message.open(RTA_MULTIPATH);
    for (const auto& next : route.next_hops) {
      rtnexthop hop{};
      hop.rtnh_hops = static_cast<uint8_t>(next.weight ? next.weight - 1 : 0);
      hop.rtnh_ifindex = static_cast<int>(next.index);
      hop.rtnh_flags = onlink ? RTNH_F_ONLINK : 0;
      size_t at = message.size();
      message.body(hop);
      write_gateway(message, route.family, next.gateway);
      message.close(at);  // rtnh_len is where an attribute has its length
    }
    message.close(multipath);
  }
  return message;
}

Message write_address(Op op, const AddressRow& address, bool nodad) {
  Message message(op == Op::remove ? RTM_DELADDR : RTM_NEWADDR, flags_of(op));
  ifaddrmsg body{};
  body.ifa_family = af(address.family);
  body.ifa_prefixlen = address.prefix_length;
  body.ifa_scope = address.scope;
  body.ifa_index = address.index;
  message.body(body);
  message.attribute(IFA_LOCAL, address.address);
  message.attribute(IFA_ADDRESS, address.address);
  // those that a user may set; the rest is the kernel's to say
  uint32_t flags = (nodad ? IFA_F_NODAD : 0) | (address.flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_OPTIMISTIC | IFA_F_HOMEADDRESS));
  if (flags) message.attribute_u32(IFA_FLAGS, flags);
  return message;
}

Message write_rule(Op op, const RuleRow& rule) {
  Message message(op == Op::remove ? RTM_DELRULE : RTM_NEWRULE, flags_of(op == Op::replace ? Op::add : op));
  fib_rule_hdr body{};
  body.family = af(rule.family);
  body.src_len = rule.source_length;
  body.action = rule.action;
  message.body(body);
  message.attribute_u32(FRA_TABLE, rule.table);
  if (rule.priority) message.attribute_u32(FRA_PRIORITY, rule.priority);
  if (rule.mark || rule.mask) message.attribute_u32(FRA_FWMARK, rule.mark);
  if (rule.mask) message.attribute_u32(FRA_FWMASK, rule.mask);
  if (rule.source_length) message.attribute(FRA_SRC, rule.source);
  if (!rule.iif.empty()) message.attribute_string(FRA_IIFNAME, rule.iif);
  return message;
}

Message write_neighbour(Op op, const NeighbourRow& neighbour) {
  Message message(op == Op::remove ? RTM_DELNEIGH : RTM_NEWNEIGH, flags_of(op));
  ndmsg body{};
  body.ndm_family = af(neighbour.family);
  body.ndm_ifindex = static_cast<int>(neighbour.index);
  body.ndm_state = static_cast<uint16_t>(neighbour.state);
  message.body(body);
  message.attribute(NDA_DST, neighbour.address);
  if (!neighbour.lladdr.empty()) message.attribute(NDA_LLADDR, neighbour.lladdr);
  return message;
}

Message delete_link(uint32_t index) {
  Message message(RTM_DELLINK, NLM_F_ACK);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(index);
  message.body(body);
  return message;
}

Message write_link(const LinkChange& change) {
  Message message(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(change.index);
  if (change.up) {
    body.ifi_change = IFF_UP;
    body.ifi_flags = *change.up ? IFF_UP : 0;
  }
  message.body(body);
  if (change.mtu) message.attribute_u32(IFLA_MTU, *change.mtu);
  if (change.name) message.attribute_string(IFLA_IFNAME, *change.name);
  if (change.master) message.attribute_u32(IFLA_MASTER, *change.master);
  if (change.alias) message.attribute_string(IFLA_IFALIAS, *change.alias);
  if (change.accept_local) {
    const size_t families = message.open(IFLA_AF_SPEC), ipv4 = message.open(AF_INET), settings = message.open(IFLA_INET_CONF);
    message.attribute_u32(IPV4_DEVCONF_ACCEPT_LOCAL, *change.accept_local ? 1 : 0);
    message.close(settings);
    message.close(ipv4);
    message.close(families);
  }
  return message;
}

std::pair<uint32_t, uint32_t> create_veth(const VethRequest& request) {
  const std::string object = request.name + " with " + request.peer_name + " in " + request.peer_netns;
  Descriptor netns(open(request.peer_netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (netns.get() < 0) throw Failure(errno, "open network namespace", request.peer_netns);
  Connection netlink;
  Message message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  ifinfomsg body{};
  message.body(body);
  message.attribute_string(IFLA_IFNAME, request.name);
  if (!request.mac.empty()) message.attribute(IFLA_ADDRESS, request.mac);
  message.attribute_u32(IFLA_MTU, request.mtu);
  if (!request.alias.empty()) message.attribute_string(IFLA_IFALIAS, request.alias);
  size_t info = message.open(IFLA_LINKINFO | NLA_F_NESTED);
  message.attribute_string(IFLA_INFO_KIND, "veth");
  size_t data = message.open(IFLA_INFO_DATA | NLA_F_NESTED);
  size_t peer = message.open(VETH_INFO_PEER | NLA_F_NESTED);
  message.body(body);
  message.attribute_string(IFLA_IFNAME, request.peer_name);
  if (!request.peer_mac.empty()) message.attribute(IFLA_ADDRESS, request.peer_mac);
  message.attribute_u32(IFLA_MTU, request.mtu);
  message.attribute_u32(IFLA_NET_NS_FD, netns.get());
  message.close(peer);
  message.close(data);
  message.close(info);
  Reply reply = netlink.request(message);
  if (reply.error) throw Failure(reply.error, "create veth", object, reply.text);

  uint32_t index = if_nametoindex(request.name.c_str()), peer_index = 0;
  in_netns(request.peer_netns, [&] { peer_index = if_nametoindex(request.peer_name.c_str()); });
  if (!index || !peer_index) throw Failure(ENODEV, "find veth", object);
  if (!request.alias.empty()) {  // ignored when a link is made: set it on the link that is there
    LinkChange change;
    change.index = index;
    change.alias = request.alias;
    Message alias = write_link(change);
    reply = netlink.request(alias);
    if (reply.error) {
      Message undo = delete_link(index);
      netlink.request(undo);
      throw Failure(reply.error, "set alias of", request.name, reply.text);
    }
  }
  return {index, peer_index};
}

}  // namespace tandem
