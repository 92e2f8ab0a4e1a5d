// Reads chosen members of a JSON object, and refuses text that is not JSON (RFC 8259). The network configuration comes from
// files that people write: a typing error has to be said, not guessed around.
#pragma once

#include <cstddef>
#include <string>

namespace tandem {

// A top-level member that the caller wants. `text` holds the decoded string, or the literal text of a number, true or false.
struct Member {
  enum class Kind { absent, string, scalar, other };

  const char *name;
  Kind kind = Kind::absent;
  std::string text = {};
};

// Fills `members` from the object in `text`. Returns "" or what is wrong, with its byte offset. Depth is at most 32.
std::string read_members(const std::string &text, Member *members, std::size_t count);

}  // namespace tandem
