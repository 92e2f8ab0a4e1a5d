// SPDX-License-Identifier: Apache-2.0
// Rows across the boundary; names and types are those of src/native/contract.ts.
#pragma once

#include <napi.h>

#include "netlink/monitor.h"
#include "netlink/rows.h"

namespace tandem {

Napi::Value to_js(Napi::Env env, const LinkRow& row);
Napi::Value to_js(Napi::Env env, const AddressRow& row);
Napi::Value to_js(Napi::Env env, const RouteRow& row);
Napi::Value to_js(Napi::Env env, const RuleRow& row);
Napi::Value to_js(Napi::Env env, const NeighbourRow& row);
Napi::Value to_js(Napi::Env env, const NetlinkEvent& event);

// One change of the batch as a message.
Message change_from_js(const Napi::Value& value);

}  // namespace tandem
