// SPDX-License-Identifier: Apache-2.0
// Paths of HTTP, normalised. What has to hold of one that is not refused:
// - it begins with a slash, and has no dot segments, no slashes in a row and no escape of a letter;
// - normalising it again changes nothing, and finds no escaped slash;
// - the query is what it was;
// - other readings of it are paths like that, too.
#include "l7/http/path.h"
#include "laws.h"

using namespace tandem;
using fuzz::hold;

namespace {

void check(const std::string& target) {
  const std::string path = target.substr(0, target.find('?'));
  hold(!path.empty() && path[0] == '/', "a path begins with a slash");
  hold(path.find("//") == std::string::npos, "no slashes in a row");
  const std::string ended = path + "/";
  hold(ended.find("/./") == std::string::npos && ended.find("/../") == std::string::npos, "no dot segments");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* const words[] = {"/", "..", ".", "%2e", "%2F", "%5c", "\\", ";a=b", "%3B", "?", "ok", "%41", "%", "#", "//", "%25"};
  fuzz::Input input(data, size);
  std::string target = "/";
  while (!input.is_over() && target.size() < 2000) {
    const unsigned step = input.next();
    if (step < 200) target += words[step % 16];
    else target += static_cast<char>(input.next());
  }
  const l7::http::Normalised made = l7::http::normalise(target);
  if (made.refused != nullptr) return 0;
  check(made.target);
  const l7::http::Normalised again = l7::http::normalise(made.target);
  hold(again.refused == nullptr && again.target == made.target && !again.escaped_slash, "normalising again changes nothing");
  const size_t query = target.find('?');
  const size_t own = made.target.find('?');
  hold((query == std::string::npos) == (own == std::string::npos), "a query stays, and none comes");
  if (query != std::string::npos) hold(target.substr(query) == made.target.substr(own), "the query is what it was");
  for (const std::string& reading : l7::http::other_readings(made.target)) check(reading);
  return 0;
}
