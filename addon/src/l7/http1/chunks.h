// SPDX-License-Identifier: Apache-2.0
// A chunked body (RFC 9112 7.1): sizes are written anew, without extensions, so that what follows a size is read as one thing; data passes unseen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem::l7::http1 {

class Chunks {
 public:
  enum class Wants : uint8_t {
    more,     // bytes, before anything can be said
    data,     // `out` to be sent, then `data` bytes of the chunk to be passed on unseen
    done,     // `out` to be sent: the body is over
    refused,  // `out` to be sent, which came before what is wrong: `reason`
  };

  struct Step {
    Wants wants = Wants::more;
    size_t taken = 0;
    uint64_t data = 0;
    std::string out;
    const char* reason = nullptr;
  };

  // bytes: where a chunk begins, or its trailers. Afterwards the data passed, the next call begins behind it.
  Step next(std::string_view bytes);

 private:
  enum class State : uint8_t { size, end_of_data, trailers } state_ = State::size;
  size_t trailer_bytes_ = 0;
};

}  // namespace tandem::l7::http1
