// SPDX-License-Identifier: Apache-2.0
// What one connection, and all together, may take. Settings of tandem-proxy; see docs/configuration.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::l7 {

struct Limits {
  size_t queue = 256 * 1024;   // bytes that wait for one side, beyond which the other is not read
  size_t input = 64 * 1024;    // bytes of one side that wait for the filter; more than a whole head needs
  size_t head = 60 * 1024;     // of a request or response, in bytes
  size_t message = size_t{4} << 20;  // of a request that has to be read whole before it is judged (Kafka)
  uint32_t headers = 100;      // fields of a head
  uint32_t connections = 65536;
  size_t memory = size_t{512} << 20;      // heap of all connections together
  uint32_t connect_timeout = 5'000;       // milliseconds, as all of these
  uint32_t head_timeout = 10'000;         // from a request's first byte to the end of its head
  uint32_t idle_timeout = 3'600'000;      // a connection without a request; 0: never
  uint32_t request_timeout = 3'600'000;   // from a request's head to the end of its answer; 0: never
};

// Those that took effect are counted, by the name of the setting where there is one.
enum class Limit : uint8_t { connections, memory, files, idle, head, connect_timeout, head_timeout, idle_timeout, request_timeout, flood };

constexpr const char* limit_names[] = {"maxConnections", "maxMemory",   "openFiles",      "idleForOthers", "maxHead",
                                       "connectTimeout", "headTimeout", "idleTimeout", "requestTimeout", "http2Flood"};
constexpr size_t limit_count = sizeof(limit_names) / sizeof(*limit_names);
static_assert(limit_count == static_cast<size_t>(Limit::flood) + 1, "each has its name");

}  // namespace tandem::l7
