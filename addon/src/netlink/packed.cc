// SPDX-License-Identifier: Apache-2.0
#include "netlink/packed.h"

#include <algorithm>
#include <cstring>

namespace tandem {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

class Packer {
 public:
  void u8(uint32_t value) { out_.push_back(static_cast<uint8_t>(value)); }
  void u16(size_t value) { raw(static_cast<uint16_t>(value)); }
  void u32(uint32_t value) { raw(value); }
  void bytes(const Bytes& value) {
    const size_t size = std::min<size_t>(value.size(), UINT8_MAX);
    u8(static_cast<uint32_t>(size));
    out_.insert(out_.end(), value.begin(), value.begin() + size);
  }
  void text(const std::string& value) {
    const size_t size = std::min<size_t>(value.size(), UINT16_MAX);
    u16(size);
    out_.insert(out_.end(), value.begin(), value.begin() + size);
  }
  Bytes take() { return std::move(out_); }

 private:
  template <typename T>
  void raw(T value) {
    const auto* at = reinterpret_cast<const uint8_t*>(&value);
    out_.insert(out_.end(), at, at + sizeof(value));
  }
  Bytes out_;
};

void put(Packer& out, const LinkRow& row) {
  for (uint32_t value : {row.index, row.mtu, row.flags, row.type, row.operstate, row.peer_index, row.master}) out.u32(value);
  for (const auto* value : {&row.name, &row.kind, &row.alias}) out.text(*value);
  out.bytes(row.address);
}

void put(Packer& out, const AddressRow& row) {
  out.u32(row.index);
  out.u32(row.flags);
  out.u8(row.family);
  out.u8(row.prefix_length);
  out.u8(row.scope);
  out.bytes(row.address);
}

void put(Packer& out, const RouteRow& row) {
  for (uint8_t value : {row.family, row.prefix_length, row.protocol, row.scope, row.type}) out.u8(value);
  for (uint32_t value : {row.table, row.metric, row.mtu.value_or(0)}) out.u32(value);
  out.bytes(row.destination);
  out.bytes(row.source);
  const size_t hops = std::min<size_t>(row.next_hops.size(), UINT16_MAX);
  out.u16(hops);
  for (size_t i = 0; i < hops; i++) {
    out.bytes(row.next_hops[i].gateway);
    out.u32(row.next_hops[i].index);
    out.u32(row.next_hops[i].weight);
  }
}

void put(Packer& out, const RuleRow& row) {
  for (uint8_t value : {row.family, row.source_length, row.action}) out.u8(value);
  for (uint32_t value : {row.priority, row.table, row.mark, row.mask}) out.u32(value);
  out.bytes(row.source);
  out.text(row.iif);
}

void put(Packer& out, const NeighbourRow& row) {
  out.u32(row.index);
  out.u32(row.state);
  out.u8(row.family);
  out.bytes(row.address);
  out.bytes(row.lladdr);
}

// The kind is the variant's index: 0 resync, then link, address, route, rule, neighbour.
void put(Packer& out, const NetlinkEvent& event) {
  out.u8(static_cast<uint32_t>(event.row.index()));
  out.u8(event.gone);
  std::visit(
      [&](const auto& row) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(row)>, std::monostate>) put(out, row);
      },
      event.row);
}

class Unpacker {
 public:
  explicit Unpacker(const Bytes& in) : in_(in) {}
  uint8_t u8() { return raw<uint8_t>(); }
  uint16_t u16() { return raw<uint16_t>(); }
  uint32_t u32() { return raw<uint32_t>(); }
  Bytes bytes() {
    const uint8_t* from = take(u8());
    return Bytes(from, in_.data() + at_);
  }
  std::string text() {
    const uint8_t* from = take(u16());
    return std::string(from, in_.data() + at_);
  }

 private:
  const uint8_t* take(size_t size) {
    if (in_.size() - at_ < size) bad_argument("packed changes end early");
    at_ += size;
    return in_.data() + at_ - size;
  }
  template <typename T>
  T raw() {
    T value;
    memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }
  const Bytes& in_;
  size_t at_ = 0;
};

RouteRow get_route(Unpacker& in) {
  RouteRow row;
  for (uint8_t* value : {&row.family, &row.prefix_length, &row.protocol, &row.scope, &row.type}) *value = in.u8();
  for (uint32_t* value : {&row.table, &row.metric}) *value = in.u32();
  if (uint32_t mtu = in.u32()) row.mtu = mtu;
  row.destination = in.bytes();
  row.source = in.bytes();
  for (uint16_t left = in.u16(); left > 0; left--) {
    NextHop hop;
    hop.gateway = in.bytes();
    hop.index = in.u32();
    hop.weight = in.u32();
    row.next_hops.push_back(std::move(hop));
  }
  return row;
}

AddressRow get_address(Unpacker& in) {
  AddressRow row;
  row.index = in.u32();
  row.flags = in.u32();
  for (uint8_t* value : {&row.family, &row.prefix_length, &row.scope}) *value = in.u8();
  row.address = in.bytes();
  return row;
}

RuleRow get_rule(Unpacker& in) {
  RuleRow row;
  for (uint8_t* value : {&row.family, &row.source_length, &row.action}) *value = in.u8();
  for (uint32_t* value : {&row.priority, &row.table, &row.mark, &row.mask}) *value = in.u32();
  row.source = in.bytes();
  row.iif = in.text();
  return row;
}

NeighbourRow get_neighbour(Unpacker& in) {
  NeighbourRow row;
  row.index = in.u32();
  row.state = in.u32();
  row.family = in.u8();
  row.address = in.bytes();
  row.lladdr = in.bytes();
  return row;
}

LinkChange get_link(Unpacker& in) {
  LinkChange change;
  change.index = in.u32();
  const uint8_t given = in.u8();  // 1 up, 2 mtu, 4 master, 8 name, 16 alias, 32 accept_local: which of these follow
  if (given & 1) change.up = in.u8() != 0;
  if (given & 2) change.mtu = in.u32();
  if (given & 4) change.master = in.u32();
  if (given & 8) change.name = in.text();
  if (given & 16) change.alias = in.text();
  if (given & 32) change.accept_local = in.u8() != 0;
  return change;
}

Op get_op(Unpacker& in) {
  const uint8_t op = in.u8();
  if (op > 2) bad_argument("packed change with operation " + std::to_string(op));
  return static_cast<Op>(op);
}

// Kinds: 1 link, 2 address, 3 route, 4 rule, 5 neighbour, 6 removal of a link.
Message get_change(Unpacker& in) {
  const uint8_t kind = in.u8();
  switch (kind) {
    case 1:
      return write_link(get_link(in));
    case 2: {
      const Op op = get_op(in);
      const bool nodad = in.u8();
      return write_address(op, get_address(in), nodad);
    }
    case 3: {
      const Op op = get_op(in);
      const bool onlink = in.u8();
      return write_route(op, get_route(in), onlink);
    }
    case 4: {
      const Op op = get_op(in);
      return write_rule(op, get_rule(in));
    }
    case 5: {
      const Op op = get_op(in);
      return write_neighbour(op, get_neighbour(in));
    }
    case 6:
      return delete_link(in.u32());
    default:
      bad_argument("packed change of kind " + std::to_string(kind));
  }
}

}  // namespace

template <typename Row>
Bytes pack(const std::vector<Row>& rows) {
  Packer out;
  out.u32(static_cast<uint32_t>(rows.size()));
  for (const auto& row : rows) put(out, row);
  return out.take();
}

template Bytes pack(const std::vector<LinkRow>&);
template Bytes pack(const std::vector<AddressRow>&);
template Bytes pack(const std::vector<RouteRow>&);
template Bytes pack(const std::vector<RuleRow>&);
template Bytes pack(const std::vector<NeighbourRow>&);
template Bytes pack(const std::vector<NetlinkEvent>&);

std::vector<Message> unpack_changes(const Bytes& packed) {
  Unpacker in(packed);
  std::vector<Message> messages;
  for (uint32_t left = in.u32(); left > 0; left--) messages.push_back(get_change(in));
  return messages;
}

}  // namespace tandem
