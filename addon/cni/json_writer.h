// The little JSON that the plugin writes: strings, the request to the agent, and CNI's error object.
#pragma once

#include <string>

namespace tandem {

// The call as the runtime made it: the CNI_* environment and stdin. Member names are those of CniRequest in src/api/dto.ts.
struct Request {
  std::string command;
  std::string container_id;
  std::string netns;
  std::string ifname;
  std::string args;
  std::string path;
  std::string config;
};

// Codes of the CNI specification, section 5 "Error".
enum class CniCode : int {
  incompatible_version = 1,
  invalid_environment = 4,
  io_failure = 5,
  decode_failure = 6,
  invalid_config = 7,
  try_again_later = 11,
  plugin_not_available = 50,
};

std::string quote(const std::string &text);
std::string to_json(const Request &request);
std::string error_json(const std::string &cni_version, CniCode code, const std::string &message,
                       const std::string &details);

}  // namespace tandem
