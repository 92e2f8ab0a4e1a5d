// SPDX-License-Identifier: Apache-2.0
// Datagrams of redirected flows: with the destination that the client meant, and sent on in the client's name.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "bpf/state.h"
#include "l7/dns/message.h"

namespace tandem::l7::dns {

// Who asks whom.
struct Path {
  Place client, server;

  bool operator==(const Path& other) const { return client == other.client && server == other.server; }
};

struct PathHash {
  size_t operator()(const Path& path) const;
};

// Asks the kernel to tell each datagram's original destination. Throws Failure.
void want_destinations(int fd);

// Takes what has come, many at once.
class Receiver {
 public:
  Receiver();

  // Calls `take(path, bytes)` for each datagram; one that was longer than a question may be comes empty. False: there was nothing.
  template <typename Take>
  bool receive(int fd, Take take) {
    const int count = fill(fd);
    for (int each = 0; each < count; each++) {
      Path path;
      if (read_path(each, path)) take(path, bytes_of(each));
    }
    return count > 0;
  }

 private:
  struct Slots;

  int fill(int fd);
  bool read_path(int slot, Path& path) const;
  std::string_view bytes_of(int slot) const;

  std::shared_ptr<Slots> slots_;
};

// A socket with the client's address and port that talks to the server alone. -1 and errno where there is none.
int connect_as_client(const Path& path, uint32_t mark);

}  // namespace tandem::l7::dns
