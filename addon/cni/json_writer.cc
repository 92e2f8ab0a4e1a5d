#include "json_writer.h"

namespace tandem {

std::string quote(const std::string &text) {
  static const char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string to_json(const Request &request) {
  return "{\"command\":" + quote(request.command) + ",\"containerId\":" + quote(request.container_id) +
         ",\"netns\":" + quote(request.netns) + ",\"ifname\":" + quote(request.ifname) + ",\"args\":" +
         quote(request.args) + ",\"path\":" + quote(request.path) + ",\"config\":" + quote(request.config) + "}";
}

std::string error_json(const std::string &cni_version, CniCode code, const std::string &message,
                       const std::string &details) {
  return "{\"cniVersion\":" + quote(cni_version) + ",\"code\":" + std::to_string(static_cast<int>(code)) +
         ",\"msg\":" + quote(message) + ",\"details\":" + quote(details) + "}\n";
}

}  // namespace tandem
