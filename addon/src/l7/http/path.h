// SPDX-License-Identifier: Apache-2.0
// Paths of HTTP, as rules see them and servers get them (RFC 3986 section 6, and what Envoy does for Cilium's --http-normalize-path).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem::l7::http {

struct Normalised {
  std::string target;            // path and query
  bool escaped_slash = false;    // a %2F was unescaped: who asked is to ask again for `target`
  const char* refused = nullptr; // why it is no path that may be passed on
};

// Of a target in origin form. Escapes of unreserved characters go, others get capital letters; dot segments are resolved, slashes merged. The
// query stays as it is.
Normalised normalise(std::string_view target);

// Other paths that some servers would read out of this one: a backslash as a slash, segments without their parameters (`;`). Empty: there is one
// reading alone.
std::vector<std::string> other_readings(std::string_view target);

}  // namespace tandem::l7::http
