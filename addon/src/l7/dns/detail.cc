// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/detail.h"

#include <arpa/inet.h>
#include <time.h>

namespace tandem::l7::dns {

std::string detail_of(const Question& question, Code code, const Answer* answer) {
  std::string text = "\"dns\":{\"name\":\"";
  // As the tables of the agent write names: without the last dot.
  const size_t length = question.name.size() > 1 ? question.name.size() - 1 : 1;
  for (size_t at = 0; at < length; at++) {
    // Names hold letters, digits, "-_." and \DDD only.
    if (question.name[at] == '\\') text.push_back('\\');
    text.push_back(question.name[at]);
  }
  text += "\",\"type\":" + std::to_string(question.type) + ",\"code\":" + std::to_string(static_cast<int>(code)) + ",\"addresses\":[";
  if (answer != nullptr) {
    const char* separator = "";
    for (const Address& each : answer->addresses) {
      text.append(separator).append("\"").append(text_of(each)).append("\"");
      separator = ",";
    }
  }
  return text + "],\"ttl\":" + std::to_string(answer == nullptr ? 0 : answer->ttl) + "}";
}

std::string text_of(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(address.length == 4 ? AF_INET : AF_INET6, address.bytes.data(), text, sizeof(text));
  return text;
}

Record record_of(Verdict verdict, uint64_t begun, std::string detail) {
  Record record;
  record.verdict = verdict;
  record.protocol = "dns";
  record.begun = begun;
  record.detail = std::move(detail);
  return record;
}

uint64_t now_of_clock() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace tandem::l7::dns
