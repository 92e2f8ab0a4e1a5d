// SPDX-License-Identifier: Apache-2.0
// What functions of the L7 engine are given by JavaScript.
#pragma once

#include <napi.h>

#include "l7/limits.h"
#include "l7/network.h"

namespace tandem {

// What is not given keeps its default.
l7::Limits limits_of(const Napi::Object& given);

// {address: 4 or 16 bytes, port}
l7::Address address_of(const Napi::Value& value, const char* what);

}  // namespace tandem
