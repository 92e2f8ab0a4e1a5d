// One HTTP/1.1 POST to the agent over its unix socket, with a deadline.
#pragma once

#include <string>

namespace tandem {

struct Reply {
  // unreachable: nobody listens, so the agent has seen nothing of the request. broken: it may have.
  enum class Outcome { answered, unreachable, broken };

  Outcome outcome = Outcome::broken;
  int status = 0;
  std::string body = {};
  std::string problem = {};
};

// POSTs JSON to `path`. A reply is at most 1 MiB.
Reply post(const std::string &socket, const std::string &path, const std::string &body, int timeout_ms);

}  // namespace tandem
