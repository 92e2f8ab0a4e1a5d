// SPDX-License-Identifier: Apache-2.0
#include "l7/arguments.h"

#include <cstring>
#include <string>

#include "napi/convert.h"

namespace tandem {

using l7::Address;
using l7::Limits;
using Napi::Value;

Limits limits_of(const Napi::Object& given) {
  Limits limits;
  const auto number = [&](const char* name, auto& field, uint32_t most = UINT32_MAX) {
    const Value value = given.Get(name);
    if (!value.IsUndefined()) field = to_u32(value, name, most);
  };
  number("connections", limits.connections);
  const Value memory = given.Get("memory");
  if (!memory.IsUndefined()) limits.memory = static_cast<size_t>(memory.As<Napi::Number>().DoubleValue());
  number("head", limits.head, static_cast<uint32_t>(limits.input) - 1024);
  number("headers", limits.headers);
  number("connectTimeout", limits.connect_timeout);
  number("headTimeout", limits.head_timeout);
  number("idleTimeout", limits.idle_timeout);
  number("requestTimeout", limits.request_timeout);
  return limits;
}

Address address_of(const Value& value, const char* what) {
  const Napi::Object place = to_object(value, what);
  const Bytes bytes = to_bytes(place.Get("address"), what);
  Address address;
  if (bytes.size() == 4) {
    address.bytes[10] = address.bytes[11] = 0xff;
    memcpy(address.bytes.data() + 12, bytes.data(), 4);
  } else if (bytes.size() == 16) {
    memcpy(address.bytes.data(), bytes.data(), 16);
  } else {
    bad_argument(std::string(what) + " must have 4 or 16 bytes");
  }
  address.port = static_cast<uint16_t>(to_u32(place.Get("port"), "port", UINT16_MAX));
  return address;
}

}  // namespace tandem
