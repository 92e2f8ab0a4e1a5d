// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace tandem {

void bind_probe(Napi::Object exports);

}  // namespace tandem
