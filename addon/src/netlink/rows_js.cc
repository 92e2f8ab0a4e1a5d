// SPDX-License-Identifier: Apache-2.0
#include "netlink/rows_js.h"

namespace tandem {
namespace {

Napi::Value optional_bytes(Napi::Env env, const Bytes& bytes) { return bytes.empty() ? env.Null() : from_bytes(env, bytes); }

uint32_t number(const Napi::Object& object, const char* name) { return to_u32(object.Get(name), name); }

uint8_t family(const Napi::Object& object) {
  uint32_t value = number(object, "family");
  if (value != 4 && value != 6) bad_argument("family must be 4 or 6");
  return static_cast<uint8_t>(value);
}

bool is_set(const Napi::Value& value) { return !value.IsNull() && !value.IsUndefined(); }

RouteRow route_from_js(const Napi::Object& object) {
  RouteRow row;
  row.family = family(object);
  row.destination = to_bytes(object.Get("destination"), "destination");
  row.prefix_length = number(object, "prefixLength");
  row.table = number(object, "table");
  row.protocol = number(object, "protocol");
  row.scope = number(object, "scope");
  row.type = number(object, "type");
  row.metric = number(object, "metric");
  row.source = to_optional_bytes(object.Get("source"), "source");
  if (is_set(object.Get("mtu"))) row.mtu = number(object, "mtu");
  auto hops = to_array(object.Get("nextHops"), "nextHops");
  for (uint32_t i = 0; i < hops.Length(); i++) {
    auto hop = to_object(hops.Get(i), "nextHops[]");
    row.next_hops.push_back({to_optional_bytes(hop.Get("gateway"), "gateway"), number(hop, "index"), number(hop, "weight")});
  }
  return row;
}

AddressRow address_from_js(const Napi::Object& object) {
  AddressRow row;
  row.index = number(object, "index");
  row.family = family(object);
  row.address = to_bytes(object.Get("address"), "address");
  row.prefix_length = number(object, "prefixLength");
  row.scope = number(object, "scope");
  row.flags = number(object, "flags");
  return row;
}

RuleRow rule_from_js(const Napi::Object& object) {
  RuleRow row;
  row.family = family(object);
  row.priority = number(object, "priority");
  row.table = number(object, "table");
  row.source = to_optional_bytes(object.Get("source"), "source");
  row.source_length = number(object, "sourceLength");
  row.mark = number(object, "mark");
  row.mask = number(object, "mask");
  row.iif = to_string(object.Get("iif"), "iif");
  row.action = number(object, "action");
  return row;
}

NeighbourRow neighbour_from_js(const Napi::Object& object) {
  NeighbourRow row;
  row.index = number(object, "index");
  row.family = family(object);
  row.address = to_bytes(object.Get("address"), "address");
  row.lladdr = to_bytes(object.Get("lladdr"), "lladdr");
  row.state = number(object, "state");
  return row;
}

LinkChange link_from_js(const Napi::Object& object) {
  LinkChange change;
  change.index = number(object, "index");
  if (is_set(object.Get("up"))) change.up = to_bool(object.Get("up"), "up");
  if (is_set(object.Get("mtu"))) change.mtu = number(object, "mtu");
  if (is_set(object.Get("master"))) change.master = number(object, "master");
  if (is_set(object.Get("name"))) change.name = to_string(object.Get("name"), "name");
  if (is_set(object.Get("alias"))) change.alias = to_string(object.Get("alias"), "alias");
  return change;
}

}  // namespace

Napi::Value to_js(Napi::Env env, const LinkRow& row) {
  auto object = Napi::Object::New(env);
  object.Set("index", row.index);
  object.Set("name", row.name);
  object.Set("kind", row.kind);
  object.Set("mtu", row.mtu);
  object.Set("flags", row.flags);
  object.Set("type", row.type);
  object.Set("address", from_bytes(env, row.address));
  object.Set("operstate", row.operstate);
  object.Set("peerIndex", row.peer_index);
  object.Set("master", row.master);
  object.Set("alias", row.alias);
  return object;
}

Napi::Value to_js(Napi::Env env, const AddressRow& row) {
  auto object = Napi::Object::New(env);
  object.Set("index", row.index);
  object.Set("family", row.family);
  object.Set("address", from_bytes(env, row.address));
  object.Set("prefixLength", row.prefix_length);
  object.Set("scope", row.scope);
  object.Set("flags", row.flags);
  return object;
}

Napi::Value to_js(Napi::Env env, const RouteRow& row) {
  auto object = Napi::Object::New(env);
  object.Set("family", row.family);
  object.Set("destination", from_bytes(env, row.destination));
  object.Set("prefixLength", row.prefix_length);
  object.Set("table", row.table);
  object.Set("protocol", row.protocol);
  object.Set("scope", row.scope);
  object.Set("type", row.type);
  object.Set("metric", row.metric);
  object.Set("source", optional_bytes(env, row.source));
  auto hops = Napi::Array::New(env, row.next_hops.size());
  for (uint32_t i = 0; i < row.next_hops.size(); i++) {
    auto hop = Napi::Object::New(env);
    hop.Set("gateway", optional_bytes(env, row.next_hops[i].gateway));
    hop.Set("index", row.next_hops[i].index);
    hop.Set("weight", row.next_hops[i].weight);
    hops.Set(i, hop);
  }
  object.Set("nextHops", hops);
  object.Set("mtu", row.mtu ? Napi::Value(Napi::Number::New(env, *row.mtu)) : env.Null());
  return object;
}

Napi::Value to_js(Napi::Env env, const RuleRow& row) {
  auto object = Napi::Object::New(env);
  object.Set("family", row.family);
  object.Set("priority", row.priority);
  object.Set("table", row.table);
  object.Set("source", optional_bytes(env, row.source));
  object.Set("sourceLength", row.source_length);
  object.Set("mark", row.mark);
  object.Set("mask", row.mask);
  object.Set("iif", row.iif);
  object.Set("action", row.action);
  return object;
}

Napi::Value to_js(Napi::Env env, const NeighbourRow& row) {
  auto object = Napi::Object::New(env);
  object.Set("index", row.index);
  object.Set("family", row.family);
  object.Set("address", from_bytes(env, row.address));
  object.Set("lladdr", from_bytes(env, row.lladdr));
  object.Set("state", row.state);
  return object;
}

Napi::Value to_js(Napi::Env env, const NetlinkEvent& event) {
  static constexpr const char* kinds[] = {"resync", "link", "address", "route", "rule", "neighbour"};
  auto object = Napi::Object::New(env);
  object.Set("kind", kinds[event.row.index()]);
  std::visit(
      [&](const auto& row) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(row)>, std::monostate>) {
          object.Set("gone", event.gone);
          object.Set("row", to_js(env, row));
        }
      },
      event.row);
  return object;
}

Message change_from_js(const Napi::Value& value) {
  auto change = to_object(value, "change");
  std::string kind = to_string(change.Get("kind"), "kind"), op = to_string(change.Get("op"), "op");
  if (kind == "link") {
    if (op == "delete") return delete_link(number(change, "index"));
    if (op == "set") return write_link(link_from_js(change));
    bad_argument("a link's op must be delete or set");
  }
  if (op != "add" && op != "replace" && op != "delete") bad_argument("op must be add, replace or delete");
  Op what = op == "add" ? Op::add : op == "replace" ? Op::replace : Op::remove;
  if (kind == "route") return write_route(what, route_from_js(to_object(change.Get("route"), "route")), to_bool(change.Get("onlink"), "onlink"));
  if (kind == "address") return write_address(what, address_from_js(to_object(change.Get("address"), "address")), to_bool(change.Get("nodad"), "nodad"));
  if (kind == "rule") return write_rule(what, rule_from_js(to_object(change.Get("rule"), "rule")));
  if (kind == "neighbour") return write_neighbour(what, neighbour_from_js(to_object(change.Get("neighbour"), "neighbour")));
  bad_argument("kind must be route, address, rule, neighbour or link, not " + kind);
}

}  // namespace tandem
