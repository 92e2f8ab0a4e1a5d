// SPDX-License-Identifier: Apache-2.0
#include "l7/tls/client-hello.h"

#include <cstdint>

namespace tandem::l7::tls {
namespace {

constexpr size_t largest_record = 16 * 1024;
constexpr size_t largest_hello = 48 * 1024;
constexpr unsigned char handshake = 22, hello_type = 1;
constexpr uint32_t server_name_extension = 0;
constexpr size_t longest_name = 253;

ClientHello refuse(const char* reason) {
  ClientHello made;
  made.read = ClientHello::Read::refused;
  made.reason = reason;
  return made;
}

// Takes numbers and vectors off the front; once something is missing everything is.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (const char byte : take(bytes)) value = value << 8 | static_cast<unsigned char>(byte);
    return value;
  }

  std::string_view vector(size_t length_bytes) { return take(number(length_bytes)); }

  std::string_view take(size_t count) {
    if (count > bytes_.size()) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }

  bool is_empty() const { return bytes_.empty(); }
  bool failed() const { return failed_; }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

const char* read_name(std::string_view extension, std::string& name) {
  Reader outer(extension);
  Reader list(outer.vector(2));
  if (outer.failed() || !outer.is_empty() || list.is_empty()) return "a list of server names that is broken";
  while (!list.is_empty()) {
    const uint32_t type = list.number(1);
    const std::string_view value = list.vector(2);
    if (list.failed()) return "a list of server names that is broken";
    // RFC 6066: host_name is the only one that there is, and there is one.
    if (type != 0 || !name.empty()) return "more than one server name";
    if (value.empty() || value.size() > longest_name) return "a server name that is empty or too long";
    for (const char byte : value) {
      const bool upper = byte >= 'A' && byte <= 'Z';
      const bool known = upper || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_';
      if (!known) return "a character that no server name may have";
      name += upper ? static_cast<char>(byte + 32) : byte;
    }
    if (name.back() == '.') return "a server name that ends with a dot";
  }
  return nullptr;
}

ClientHello read_body(std::string_view body) {
  ClientHello made;
  made.read = ClientHello::Read::whole;
  Reader hello(body);
  hello.take(2 + 32);  // version, random
  hello.vector(1);     // session
  hello.vector(2);     // cipher suites
  hello.vector(1);     // compression
  if (hello.failed()) return refuse("a ClientHello that is broken");
  if (hello.is_empty()) return made;
  Reader extensions(hello.vector(2));
  if (hello.failed() || !hello.is_empty()) return refuse("a ClientHello that is broken");
  bool seen = false;
  while (!extensions.is_empty()) {
    const uint32_t type = extensions.number(2);
    const std::string_view value = extensions.vector(2);
    if (extensions.failed()) return refuse("an extension that is broken");
    if (type != server_name_extension) continue;
    if (seen) return refuse("two lists of server names");
    seen = true;
    if (const char* reason = read_name(value, made.server_name)) return refuse(reason);
  }
  return made;
}

}  // namespace

ClientHello HelloReader::read(std::string_view bytes) {
  while (at_ < bytes.size()) {
    const std::string_view rest = bytes.substr(at_);
    if (static_cast<unsigned char>(rest[0]) != handshake) return refuse("no TLS");
    if (rest.size() >= 2 && rest[1] != 3) return refuse("no TLS");
    if (rest.size() < 5) return ClientHello();
    Reader record(rest.substr(3));
    const size_t length = record.number(2);
    if (length == 0 || length > largest_record) return refuse("a record of no possible size");
    const std::string_view part = rest.substr(5, length);
    message_.append(part.substr(taken_));
    taken_ = part.size();
    if (!message_.empty() && static_cast<unsigned char>(message_[0]) != hello_type) return refuse("no ClientHello");
    if (message_.size() >= 4) {
      Reader head(std::string_view(message_).substr(1));
      const size_t size = head.number(3);
      if (size > largest_hello) return refuse("a ClientHello that is too large");
      if (message_.size() >= 4 + size) return read_body(std::string_view(message_).substr(4, size));
    }
    if (taken_ < length) return ClientHello();
    at_ += 5 + length;
    taken_ = 0;
  }
  return ClientHello();
}

}  // namespace tandem::l7::tls
