// SPDX-License-Identifier: Apache-2.0
// What a client says when it begins TLS (RFC 8446 4.1.2, RFC 6066 3): whom it wants to talk to. Nothing is decrypted.
#pragma once

#include <string>
#include <string_view>

namespace tandem::l7::tls {

struct ClientHello {
  enum class Read : uint8_t { whole, more, refused } read = Read::more;
  const char* reason = "";  // of refused
  std::string server_name;  // lower case; empty: it says none. With an encrypted hello inside, that of the outer one
};

// Reads the message, which may be spread over any number of records, as it comes: each byte is looked at once, so that a client that sends it in
// tiny pieces costs no more than others.
class HelloReader {
 public:
  // bytes: from the connection's first one on, those of the calls before included.
  ClientHello read(std::string_view bytes);

  size_t memory() const { return message_.capacity(); }

 private:
  std::string message_;
  size_t at_ = 0;     // where the record begins that is being read
  size_t taken_ = 0;  // of its content
};

}  // namespace tandem::l7::tls
