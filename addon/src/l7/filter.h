// SPDX-License-Identifier: Apache-2.0
// How the engine and a protocol meet. A filter is the whole knowledge of one protocol about one connection: bytes of both sides go in, bytes,
// endings and records come out. It does no I/O, reads no clock and knows no thread, so tests and fuzzers run it as the engine does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "l7/limits.h"
#include "l7/record.h"
#include "l7/rules.h"

namespace tandem::l7 {

// The client opened the connection; the server is where it wanted to go.
enum class Side : uint8_t { client = 0, server = 1 };

constexpr Side other(Side side) { return side == Side::client ? Side::server : Side::client; }

enum class Ending : uint8_t {
  finish,  // FIN, behind everything that was sent before
  reset,   // RST at once; what waits is dropped
};

constexpr uint64_t everything = UINT64_MAX;

// What a filter can do. Nothing here blocks or calls back into the filter.
class Wire {
 public:
  virtual ~Wire() = default;

  // Queues bytes, in order. The first ones to the server open the connection to it.
  virtual void send(Side to, std::string_view bytes) = 0;

  // The next `count` bytes that come from `from` go to the other side without being looked at (`everything`: for ever), behind what was
  // sent there before. The filter is called for `from` again when they are through.
  virtual void pass(Side from, uint64_t count) = 0;

  // Of the last `pass`: bytes that have not come yet.
  virtual uint64_t passing(Side from) const = 0;

  // A server that is reset may be connected to again by what is sent then.
  virtual void end(Side to, Ending ending) = 0;

  // Bytes that wait to be written to `to`. The engine offers nothing more from a side while the other one has more than Limits::queue
  // waiting; a protocol that multiplexes keeps its own windows by this.
  virtual size_t waiting(Side to) const = 0;

  // What the policies of both ends demand now; may differ from call to call. Valid until the next call of the filter.
  virtual const Demands& demands() = 0;

  // Filter::expired is called once after that many milliseconds; 0: never. One timer: a later call replaces it.
  virtual void expire_after(uint32_t milliseconds) = 0;

  // Nanoseconds of CLOCK_MONOTONIC, as of this turn of the loop.
  virtual uint64_t now() const = 0;

  virtual void record(Record&& record) = 0;

  // A limit took effect here: for figures.
  virtual void reached(Limit) {}
};

class Filter {
 public:
  virtual ~Filter() = default;

  // `bytes`: all that came from `from` and was not taken yet (never more than Limits::input). Returns how many are taken now; the rest is
  // offered again with what follows, and after bytes of the other side were taken. Not called while bytes of `from` pass unseen; once, with
  // nothing if need be, when they are through.
  virtual size_t receive(Side from, std::string_view bytes, Wire& wire) = 0;

  // FIN of `from`, when all its bytes were offered; `left` are those that were not taken.
  virtual void ended(Side from, std::string_view left, Wire& wire) = 0;

  // The connection to `side` broke (ECONNRESET) or could not be made (ECONNREFUSED, ETIMEDOUT). The engine closes the other side with a
  // reset when the filter does nothing.
  virtual void failed(Side side, int error, Wire& wire) = 0;

  // What waited for `to` is written, after there had been as much as Limits::queue.
  virtual void drained(Side, Wire&) {}

  virtual void expired(Wire& wire) = 0;

  // The proxy is about to end: no further requests on this connection, where the protocol has a word for it.
  virtual void drain(Wire& wire) = 0;

  // Bytes of that side are left for later on purpose, until the other one has said more: its end is not told before they are taken.
  virtual bool holds(Side) const { return false; }

  // No request is under way, so that an idle connection may be closed.
  virtual bool is_idle() const = 0;

  // Heap bytes that this connection holds.
  virtual size_t memory() const = 0;
};

}  // namespace tandem::l7
