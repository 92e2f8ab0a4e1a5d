// SPDX-License-Identifier: Apache-2.0
// HTTP/2 and gRPC with prior knowledge (RFC 9113 3.3): two connections, one with the client and one with the server, whose streams are joined
// where rules allow the request. Each stream is judged for itself; windows, resets and farewells are handed through.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>

#include "l7/filter.h"
#include "l7/http/detail.h"
#include "l7/http/judge.h"
#include "l7/http2/message.h"
#include "l7/http2/session.h"
#include "l7/limits.h"

namespace tandem::l7::http2 {

class Http2Filter : public Filter, public Session::Events {
 public:
  Http2Filter(const Limits& limits, const http::JudgeOptions& options)
      : limits_(limits), options_(options), front_(Session::Role::server, limits, *this) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override;
  void failed(Side side, int error, Wire& wire) override;
  void drained(Side to, Wire& wire) override;
  void expired(Wire& wire) override;
  void drain(Wire& wire) override;
  bool is_idle() const override { return streams_.empty(); }
  size_t memory() const override;

 private:
  // One request and its answer.
  struct Stream {
    int32_t back = 0;  // its number on the connection to the server; 0: not passed on
    bool front_open = true, back_open = false, request_ended = false, answered = false, answer_ended = false;
    bool is_grpc = false, is_connect = false, is_head = false;
    uint64_t begun = 0, first_byte = 0;
    Verdict verdict = Verdict::forwarded;
    bool ingress = false;
    uint32_t rules = 0;
    std::string reason;
    http::Detail detail;
  };
  enum class Waits : uint8_t { nothing, request, head, answers };

  void on_head(Session& session, int32_t stream, Session::Kind kind, Fields&& fields, bool last, bool too_large) override;
  void on_data(Session& session, int32_t stream, std::string_view bytes) override;
  void on_end(Session& session, int32_t stream) override;
  void on_sent(Session& session, int32_t stream, size_t count) override;
  void on_closed(Session& session, int32_t stream, uint32_t code) override;
  void on_goaway(Session& session, uint32_t code) override;
  void on_malformed(Session& session, int32_t stream, const char* reason) override;
  void on_flood() override { wire_->reached(Limit::flood); }

  void asked(int32_t id, const Fields& fields, bool last, bool too_large);
  void forward(int32_t id, Stream& stream, const Fields& fields, const RequestHead& request, const http::Judgement& judgement, bool last);
  void answer(int32_t id, Stream& stream, const RequestHead& request, const Answer& answer);
  void fail(int32_t id, Stream& stream, const char* reason, int status, int grpc_status);
  void answered(int32_t id, Session::Kind kind, Fields&& fields, bool last, bool too_large);
  void back_closed(int32_t id, Stream& stream, uint32_t code);
  void lose_server(const char* reason, int status);
  void end_if_over(int32_t id);
  void consume(Session& from, size_t count);
  void settle();
  void pump();
  void rearm();
  void close(Ending ending);
  void tell(const Stream& stream);
  void tell_connection(const char* reason);
  // The number of the client's stream; 0: it is over.
  int32_t of_back(int32_t back) const;

  const Limits& limits_;
  const http::JudgeOptions options_;
  Wire* wire_ = nullptr;  // of the call that is under way
  Session front_;
  std::unique_ptr<Session> back_;
  std::unordered_map<int32_t, Stream> streams_;   // by the client's number
  std::unordered_map<int32_t, int32_t> fronts_;   // by the server's
  size_t front_owed_ = 0, back_owed_ = 0;         // read, and not given back to the connection's window yet
  Waits waits_ = Waits::nothing;
  bool is_over_ = false, draining_ = false, server_spoke_ = false;
  bool told_ = false;  // why the connection ends
};

}  // namespace tandem::l7::http2
