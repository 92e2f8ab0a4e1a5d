// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

namespace tandem {

void bind_l7(Napi::Object exports);
void bind_l7_trials(Napi::Object exports);

}  // namespace tandem
