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

// bytes: from the connection's first one on; the message may be spread over any number of records.
ClientHello read_client_hello(std::string_view bytes);

}  // namespace tandem::l7::tls
