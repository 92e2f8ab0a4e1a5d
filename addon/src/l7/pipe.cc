// SPDX-License-Identifier: Apache-2.0
#include "l7/pipe.h"

#include <fcntl.h>
#include <unistd.h>

namespace tandem::l7 {
namespace {

constexpr size_t most_free = 16;

}  // namespace

bool Pipe::open() {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return false;
  read_ = Descriptor(ends[0]);
  write_ = Descriptor(ends[1]);
  // Where it may not grow, its 64 KiB do as well.
  fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(capacity));
  return true;
}

ssize_t Pipe::fill(int socket, size_t most) {
  const ssize_t count = splice(socket, nullptr, write_.get(), nullptr, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (count > 0) size_ += static_cast<size_t>(count);
  return count;
}

ssize_t Pipe::drain(int socket) {
  const ssize_t count = splice(read_.get(), nullptr, socket, nullptr, size_, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (count > 0) size_ -= static_cast<size_t>(count);
  return count;
}

Pipe Pipes::take() {
  Pipe pipe;
  if (free_.empty()) {
    pipe.open();
  } else {
    pipe = std::move(free_.back());
    free_.pop_back();
  }
  return pipe;
}

void Pipes::give(Pipe&& pipe) {
  if (pipe.is_open() && pipe.size() == 0 && free_.size() < most_free) free_.push_back(std::move(pipe));
  else pipe = Pipe();
}

}  // namespace tandem::l7
