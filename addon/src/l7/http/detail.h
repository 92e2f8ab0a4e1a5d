// SPDX-License-Identifier: Apache-2.0
// What is told of one HTTP request in its record.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "l7/json.h"

namespace tandem::l7::http {

struct Detail {
  std::string method, host, path;
  std::vector<std::string> mismatches;  // headers that a rule wants logged
  int status = 0;
  std::optional<int> grpc_status;

  size_t memory() const { return method.capacity() + host.capacity() + path.capacity(); }

  // "http":{...}, a member of L7Record.
  std::string text() const {
    std::string out = "\"http\":{\"method\":";
    append_json(out, method);
    out += ",\"host\":";
    append_json(out, host);
    out += ",\"path\":";
    append_json(out, path);
    out += ",\"status\":" + std::to_string(status);
    if (grpc_status.has_value()) out += ",\"grpcStatus\":" + std::to_string(*grpc_status);
    if (!mismatches.empty()) {
      const char* before = ",\"mismatches\":[";
      for (const std::string& name : mismatches) {
        out += before;
        append_json(out, name);
        before = ",";
      }
      out += "]";
    }
    out += "}";
    return out;
  }
};

}  // namespace tandem::l7::http
