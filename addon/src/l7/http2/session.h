// SPDX-License-Identifier: Apache-2.0
// One end of an HTTP/2 connection (RFC 9113), by libnghttp2: bytes of the peer go in, heads, bodies and endings come out, and the other way
// round. It knows no rules and does no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "l7/http2/fields.h"
#include "l7/limits.h"

struct nghttp2_session;

namespace tandem::l7::http2 {

// RFC 9113 section 7.
enum Code : uint32_t { no_error = 0, internal_error = 2, refused_stream = 7, cancel = 8, enhance_your_calm = 11 };

class Session {
 public:
  enum class Role : uint8_t { server, client };
  enum class Kind : uint8_t { request, response, informational, trailers };

  // What the peer said. None of these may destroy the session; all others of its methods but receive() and next() may be called.
  class Events {
   public:
    virtual ~Events() = default;
    // last: nothing follows on this stream. too_large: its fields are more than the limits allow and were not kept.
    virtual void on_head(Session& session, int32_t stream, Kind kind, Fields&& fields, bool last, bool too_large) = 0;
    virtual void on_data(Session& session, int32_t stream, std::string_view bytes) = 0;
    virtual void on_end(Session& session, int32_t stream) = 0;
    // So many bytes that were queued by data() went into frames.
    virtual void on_sent(Session& session, int32_t stream, size_t count) = 0;
    // Both directions are over, or it was reset by either side.
    virtual void on_closed(Session& session, int32_t stream, uint32_t code) = 0;
    virtual void on_goaway(Session& session, uint32_t code) = 0;
    // stream 0: the connection. It is being reset, or the connection ended, by libnghttp2.
    virtual void on_malformed(Session& session, int32_t stream, const char* reason) = 0;
    // More than anybody in good faith sends of what costs us and not the peer: the connection ends.
    virtual void on_flood() = 0;
  };

  Session(Role role, const Limits& limits, Events& events);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // now: nanoseconds. Null, or why nothing more can be said on this connection, not even farewell.
  const char* receive(std::string_view bytes, uint64_t now);

  // Bytes to be written next, valid until the next call; empty: there are none now.
  std::string_view next();

  // The new stream's number; 0: the peer takes no more.
  int32_t request(const Fields& fields, bool last);
  void informational(int32_t stream, const Fields& fields);
  void respond(int32_t stream, const Fields& fields, bool last);
  void data(int32_t stream, std::string_view bytes);
  void finish(int32_t stream, const Fields* trailers);
  void reset(int32_t stream, uint32_t code);
  // When everything that was queued is said: whoever still sends is told to stop.
  void reset_when_finished(int32_t stream, uint32_t code);

  // The peer may send that many bytes more: the windows of a stream and of the connection are apart.
  void consume_stream(int32_t stream, size_t count);
  void consume_connection(size_t count);

  // Streams that have begun go on, new ones are not taken.
  void goaway(uint32_t code);
  // Everything is over.
  void terminate(uint32_t code);

  // Bytes of bodies that wait for the peer's windows.
  size_t queued() const { return queued_; }
  // A head has begun and is not whole, or the peer has not begun to speak HTTP/2.
  bool is_waiting_for_head() const { return in_head_ || !begun_; }
  // Nothing more is going to be read or written.
  bool is_over() const;
  size_t memory() const { return memory_ + queued_; }

 private:
  friend struct Callbacks;

  struct Outgoing {
    std::string bytes;
    size_t taken = 0;
    bool ended = false, deferred = false, has_trailers = false, said = false, resets = false;
    uint32_t code = 0;
    Fields trailers;
  };

  void forget(int32_t stream);
  // Resets it if the peer may still send.
  void stop(int32_t stream, uint32_t code);
  void count_reset();
  int end_flood();

  const Limits& limits_;
  Events& events_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<int32_t, Outgoing> outgoing_;
  Fields head_;
  size_t memory_ = 0, queued_ = 0;
  uint64_t now_ = 0, refilled_ = 0;
  uint32_t resets_left_;
  uint32_t empty_frames_ = 0;
  bool in_head_ = false, begun_ = false, too_large_ = false, is_server_;
  size_t head_size_ = 0;
};

}  // namespace tandem::l7::http2
