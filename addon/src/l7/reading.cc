// SPDX-License-Identifier: Apache-2.0
// How bytes come into a Connection: to its filter, or past it to the other side, copied once or not at all.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "l7/connection.h"
#include "l7/worker.h"

namespace tandem::l7 {
namespace {

// Reads of one event, so that one fast sender leaves the others their turn.
constexpr int most_reads = 4;
// Bodies from this size on are not copied; below, the calls cost more than the copies.
constexpr uint64_t least_spliced = 128 * 1024;

}  // namespace

void Connection::read(Side side) {
  Half& half = at(side);
  for (int reads = 0; reads < most_reads && !dead_ && half.fd.get() >= 0 && !half.ended; reads++) {
    if (half.input.size() >= worker_.limits().input || waiting(other(side)) >= worker_.limits().queue) return;
    if (may_splice(side)) {
      if (!splice(side)) return;
      continue;
    }
    const std::string_view space = worker_.buffer();
    const size_t most = half.passing > 0 ? space.size() : std::min(space.size(), worker_.limits().input - half.input.size());
    const ssize_t count = recv(half.fd.get(), const_cast<char*>(space.data()), most, 0);
    if (count == 0) {
      half.ended = true;
      return;
    }
    if (count < 0) {
      if (errno != EAGAIN && errno != EINTR) half.error = errno;
      return;
    }
    came(side, space.substr(0, static_cast<size_t>(count)));
    if (static_cast<size_t>(count) < most) return;
  }
}

// What is to pass is long, and nothing is before it.
bool Connection::may_splice(Side side) {
  const Half& half = at(side);
  Half& to = at(other(side));
  if (half.passing < least_spliced || !half.input.empty() || to.output.size() > 0 || to.fd.get() < 0 || to.connecting) return false;
  if (!to.pipe.is_open()) to.pipe = worker_.pipes().take();
  return to.pipe.is_open();
}

// False: nothing more comes or goes now.
bool Connection::splice(Side side) {
  Half& half = at(side);
  Half& to = at(other(side));
  const ssize_t count = to.pipe.fill(half.fd.get(), static_cast<size_t>(std::min<uint64_t>(half.passing, Pipe::capacity)));
  if (count == 0) half.ended = true;
  if (count < 0 && errno != EAGAIN && errno != EINTR) half.error = errno;
  if (count <= 0) return false;
  if (half.passing != everything) half.passing -= static_cast<uint64_t>(count);
  half.has_passed = half.passing == 0;
  if (to.pipe.drain(to.fd.get()) < 0 && errno != EAGAIN && errno != EINTR) to.error = errno;
  return to.error == 0;
}

void Connection::came(Side side, std::string_view bytes) {
  Half& half = at(side);
  Half& to = at(other(side));
  if (half.passing > 0 && half.input.empty()) {
    size_t count = static_cast<size_t>(std::min<uint64_t>(half.passing, bytes.size()));
    if (half.passing != everything) half.passing -= count;
    half.has_passed = half.passing == 0;
    std::string_view passed = bytes.substr(0, count);
    bytes.remove_prefix(count);
    // Straight on, without a copy, as long as the other side takes it.
    if (to.output.size() == 0 && to.pipe.size() == 0 && !to.connecting && to.fd.get() >= 0 && !passed.empty()) {
      const ssize_t sent = ::send(to.fd.get(), passed.data(), passed.size(), MSG_NOSIGNAL);
      if (sent > 0) passed.remove_prefix(static_cast<size_t>(sent));
    }
    to.output.append(passed);
  }
  half.input.append(bytes);
}

void Connection::move_passing(Side side) {
  Half& half = at(side);
  const size_t count = static_cast<size_t>(std::min<uint64_t>(half.passing, half.input.size()));
  at(other(side)).output.append(std::string_view(half.input).substr(0, count));
  half.input.erase(0, count);
  if (half.passing == everything) return;
  half.passing -= count;
  half.has_passed = half.passing == 0;
}

}  // namespace tandem::l7
