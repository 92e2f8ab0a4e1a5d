// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tandem::l7 {

// Bytes that wait to be written; taken from the front without moving the rest each time.
class Queue {
 public:
  void append(std::string_view bytes) { bytes_.append(bytes); }
  std::string_view front() const { return std::string_view(bytes_).substr(taken_); }
  size_t size() const { return bytes_.size() - taken_; }
  size_t memory() const { return bytes_.capacity(); }

  void take(size_t count) {
    taken_ += count;
    if (taken_ == bytes_.size()) {
      clear();
    } else if (taken_ > 64 * 1024 && taken_ > bytes_.size() / 2) {
      bytes_.erase(0, taken_);
      taken_ = 0;
    }
  }

  void clear() {
    taken_ = 0;
    // An idle connection is to hold nothing.
    if (bytes_.capacity() > 16 * 1024) std::string().swap(bytes_);
    else bytes_.clear();
  }

 private:
  std::string bytes_;
  size_t taken_ = 0;
};

}  // namespace tandem::l7
