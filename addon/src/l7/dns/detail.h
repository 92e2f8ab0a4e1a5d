// SPDX-License-Identifier: Apache-2.0
// What is told of a question and its answer (L7Record.dns in src/native/l7-contract.ts).
#pragma once

#include <string>

#include "l7/dns/message.h"
#include "l7/record.h"

namespace tandem::l7::dns {

// Members of a JSON object. @param answer null: the proxy answered itself with `code`, or nobody did
std::string detail_of(const Question& question, Code code, const Answer* answer);

std::string text_of(const Address& address);

Record record_of(Verdict verdict, uint64_t begun, std::string detail);

// ns of CLOCK_MONOTONIC, as Wire::now() counts.
uint64_t now_of_clock();

}  // namespace tandem::l7::dns
