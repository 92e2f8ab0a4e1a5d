// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include "l7/dns/options.h"

namespace tandem {

void bind_dns(Napi::Object exports);

// src/native/dns-contract.ts: DnsCounts.
Napi::Object dns_counts_of(Napi::Env env, const l7::dns::Shared& shared);

}  // namespace tandem
