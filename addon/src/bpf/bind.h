// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace tandem {

void bind_bpf(Napi::Object exports);
// closeRing and closeMonitor: stops the thread off the event loop.
Napi::Value close_background(const Napi::CallbackInfo& info);

}  // namespace tandem
