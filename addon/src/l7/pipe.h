// SPDX-License-Identifier: Apache-2.0
// Bytes on their way between two sockets that are never copied to us (splice(2), since Linux 2.6.17): a pipe of the kernel holds their pages.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include "bpf/state.h"

namespace tandem::l7 {

class Pipe {
 public:
  // What an unprivileged process may ask for (/proc/sys/fs/pipe-max-size).
  static constexpr size_t capacity = size_t{1} << 20;

  // False: the process has no descriptors left; bytes are copied then.
  bool open();
  bool is_open() const { return read_.get() >= 0; }
  size_t size() const { return size_; }

  // From a socket; at most `most` bytes. As recv(2) returns; EAGAIN also says that no more fits.
  ssize_t fill(int socket, size_t most);
  // To a socket. As send(2) returns; SIGPIPE has to be blocked or ignored.
  ssize_t drain(int socket);

 private:
  Descriptor read_, write_;
  size_t size_ = 0;
};

// Empty pipes of one worker, for whoever needs one next.
class Pipes {
 public:
  // Not open where none can be made.
  Pipe take();
  void give(Pipe&& pipe);

 private:
  std::vector<Pipe> free_;
};

}  // namespace tandem::l7
