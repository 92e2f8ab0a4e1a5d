// SPDX-License-Identifier: Apache-2.0
#include "netlink/kernel_flows.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "netlink/connection.h"

namespace tandem {
namespace {

Attributes inside(const Attributes& attributes, uint16_t type) {
  const rtattr* nested = attributes.find(type);
  return nested ? Attributes(RTA_DATA(nested), RTA_PAYLOAD(nested)) : Attributes(nullptr, 0);
}

bool read_address(const Attributes& addresses, uint16_t type4, uint16_t type6, address& out) {
  const Bytes v4 = addresses.bytes(type4), v6 = addresses.bytes(type6);
  if (v4.size() == 4) {
    out.bytes[10] = out.bytes[11] = 0xff;
    std::copy(v4.begin(), v4.end(), out.bytes + 12);
    return true;
  }
  if (v6.size() != sizeof(out.bytes)) return false;
  std::copy(v6.begin(), v6.end(), out.bytes);
  return true;
}

// As the kernel has it: network byte order.
uint16_t port_of(const Attributes& protocol, uint16_t type) {
  const Bytes bytes = protocol.bytes(type);
  uint16_t port = 0;
  if (bytes.size() == sizeof(port)) memcpy(&port, bytes.data(), sizeof(port));
  return port;
}

// nullopt: neither TCP nor UDP.
std::optional<kernel_flow_key> read_tuple(const Attributes& tuple) {
  const Attributes addresses = inside(tuple, CTA_TUPLE_IP), protocol = inside(tuple, CTA_TUPLE_PROTO);
  const Bytes number = protocol.bytes(CTA_PROTO_NUM);
  kernel_flow_key key{};
  if (number.size() != 1 || (number[0] != IPPROTO_TCP && number[0] != IPPROTO_UDP)) return std::nullopt;
  if (!read_address(addresses, CTA_IP_V4_SRC, CTA_IP_V6_SRC, key.source)) return std::nullopt;
  if (!read_address(addresses, CTA_IP_V4_DST, CTA_IP_V6_DST, key.destination)) return std::nullopt;
  key.protocol = number[0];
  key.source_port = port_of(protocol, CTA_PROTO_SRC_PORT);
  key.destination_port = port_of(protocol, CTA_PROTO_DST_PORT);
  return key;
}

void read_flow(const nlmsghdr* header, std::vector<kernel_flow_key>& flows) {
  constexpr uint32_t wanted = IPS_SEEN_REPLY | IPS_DST_NAT;
  constexpr size_t offset = NLMSG_SPACE(sizeof(nfgenmsg));
  if (header->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || header->nlmsg_len <= offset) return;
  const Attributes attributes(reinterpret_cast<const uint8_t*>(header) + offset, header->nlmsg_len - offset);
  if ((ntohl(attributes.u32(CTA_STATUS, 0)) & wanted) != wanted) return;
  for (const uint16_t direction : {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY})
    if (auto key = read_tuple(inside(attributes, direction))) flows.push_back(*key);
}

}  // namespace

std::vector<kernel_flow_key> redirected_flows() {
  Connection netlink(0, 4 << 20, NETLINK_NETFILTER);
  Message message(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  message.body(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  std::vector<kernel_flow_key> flows;
  netlink.dump("connections", message, [&] { flows.clear(); }, [&](const nlmsghdr* header) { read_flow(header, flows); });
  return flows;
}

}  // namespace tandem
