// SPDX-License-Identifier: Apache-2.0
// Lookups to JavaScript, and its answers.
#pragma once

#include <napi.h>

#include <vector>

#include "l7/dns/names.h"
#include "napi/stream.h"

namespace tandem::l7::dns {

using LookupStream = Stream<std::vector<Lookup>>;

// What JavaScript's function is called with: a list of DnsLookup (src/native/dns-contract.ts).
std::vector<napi_value> lookup_arguments(Napi::Env env, std::vector<Lookup>& lookups);

std::vector<uint64_t> to_tickets(const Napi::Value& value);

}  // namespace tandem::l7::dns
