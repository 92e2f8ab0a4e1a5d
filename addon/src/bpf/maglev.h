// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "napi/convert.h"

namespace tandem {

// `backends`: struct service_backend end to end, `weights`: one a backend, 1-65535, or none at all; `slots` is a prime.
// The table as it lies in the map `maglev`: whole chunks, a slot one byte (up to MAGLEV_NARROW backends) or two.
Bytes maglev_table(const Bytes& backends, const std::vector<uint16_t>& weights, uint32_t slots);

}  // namespace tandem
