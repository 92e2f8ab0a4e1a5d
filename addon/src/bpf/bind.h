// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include "bpf/kernel.h"

namespace tandem {

void bind_bpf(Napi::Object exports);
void bind_maps(Napi::Object exports);
// Contract: MapInfo.
Napi::Object map_info(Napi::Env env, const Map& map, uint32_t handle);
// closeRing and closeMonitor: stops the thread off the event loop; what it had read is delivered before the promise is settled.
Napi::Value close_background(const Napi::CallbackInfo& info, const char* kind);

}  // namespace tandem
