// SPDX-License-Identifier: Apache-2.0
// Rows of rtnetlink as plain structs, read from and written to messages; the same fields as in src/native/netlink-contract.ts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "napi/convert.h"
#include "netlink/connection.h"

namespace tandem {

struct LinkRow {
  uint32_t index = 0, mtu = 0, flags = 0, type = 0, operstate = 0, peer_index = 0, master = 0;
  std::string name, kind, alias;
  Bytes address;
};

struct AddressRow {
  uint32_t index = 0, flags = 0;
  uint8_t family = 4, prefix_length = 0, scope = 0;
  Bytes address;
};

struct NextHop {
  Bytes gateway;
  uint32_t index = 0, weight = 1;
};

struct RouteRow {
  uint8_t family = 4, prefix_length = 0, protocol = 0, scope = 0, type = 1;
  uint32_t table = 254, metric = 0;
  Bytes destination, source;
  std::vector<NextHop> next_hops;
  std::optional<uint32_t> mtu;
};

struct RuleRow {
  uint8_t family = 4, source_length = 0, action = 1;
  uint32_t priority = 0, table = 254, mark = 0, mask = 0;
  Bytes source;
  std::string iif;
};

struct NeighbourRow {
  uint32_t index = 0, state = 0;
  uint8_t family = 4;
  Bytes address, lladdr;
};

// nullopt: not of a family that we know.
std::optional<LinkRow> read_link(const nlmsghdr* header);
std::optional<AddressRow> read_address(const nlmsghdr* header);
std::optional<RouteRow> read_route(const nlmsghdr* header);
std::optional<RuleRow> read_rule(const nlmsghdr* header);
std::optional<NeighbourRow> read_neighbour(const nlmsghdr* header);

std::vector<LinkRow> list_links();
std::vector<AddressRow> list_addresses();
std::vector<RouteRow> list_routes(uint8_t family, uint32_t table, uint8_t protocol);  // 0: any
std::vector<RuleRow> list_rules();
std::vector<NeighbourRow> list_neighbours();

// op: RTM_NEW* with NLM_F_CREATE|EXCL or REPLACE, or RTM_DEL*.
enum class Op { add, replace, remove };
Message write_route(Op op, const RouteRow& route, bool onlink);
Message write_address(Op op, const AddressRow& address, bool nodad);
Message write_rule(Op op, const RuleRow& rule);
Message write_neighbour(Op op, const NeighbourRow& neighbour);
Message delete_link(uint32_t index);
struct LinkChange {
  uint32_t index = 0;
  std::optional<bool> up;
  std::optional<bool> accept_local;  // net.ipv4.conf.<link>.accept_local
  std::optional<uint32_t> mtu, master;
  std::optional<std::string> name, alias;
};
Message write_link(const LinkChange& change);

struct VethRequest {
  std::string name, peer_name, peer_netns, alias;
  uint32_t mtu = 1500;
  Bytes mac, peer_mac;
};
// Index of both ends. Runs in the namespace of the host end.
std::pair<uint32_t, uint32_t> create_veth(const VethRequest& request);

}  // namespace tandem
