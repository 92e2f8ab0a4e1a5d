// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/lookups.h"

#include "l7/dns/detail.h"
#include "napi/convert.h"

namespace tandem::l7::dns {

std::vector<napi_value> lookup_arguments(Napi::Env env, std::vector<Lookup>& lookups) {
  auto array = Napi::Array::New(env, lookups.size());
  for (uint32_t each = 0; each < lookups.size(); each++) {
    const Lookup& lookup = lookups[each];
    auto object = Napi::Object::New(env);
    object.Set("ticket", static_cast<double>(lookup.ticket));
    object.Set("endpoint", lookup.endpoint);
    object.Set("policySet", lookup.policy_set);
    object.Set("name", lookup.name);
    object.Set("ttl", lookup.ttl);
    auto addresses = Napi::Array::New(env, lookup.addresses.size());
    for (uint32_t at = 0; at < lookup.addresses.size(); at++) addresses.Set(at, text_of(lookup.addresses[at]));
    object.Set("addresses", addresses);
    array.Set(each, object);
  }
  return {array};
}

std::vector<uint64_t> to_tickets(const Napi::Value& value) {
  auto array = to_array(value, "tickets");
  std::vector<uint64_t> tickets;
  tickets.reserve(array.Length());
  for (uint32_t each = 0; each < array.Length(); each++) {
    const Napi::Value ticket = array.Get(each);
    // Counted up from 1: a double holds 2^53 of them exactly.
    if (!ticket.IsNumber()) bad_argument("tickets[] must be a number");
    tickets.push_back(static_cast<uint64_t>(ticket.As<Napi::Number>().Int64Value()));
  }
  return tickets;
}

}  // namespace tandem::l7::dns
