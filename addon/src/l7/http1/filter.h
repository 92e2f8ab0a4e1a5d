// SPDX-License-Identifier: Apache-2.0
// HTTP/1.0 and HTTP/1.1 between one client and one server: requests are judged one after the other, the next when the last one is answered, so
// answers are in order whatever was pipelined.
#pragma once

#include <string>

#include "l7/filter.h"
#include "l7/http/detail.h"
#include "l7/http/judge.h"
#include "l7/http1/chunks.h"
#include "l7/http1/head.h"
#include "l7/limits.h"

namespace tandem::l7::http1 {

class Http1Filter : public Filter {
 public:
  Http1Filter(const Limits& limits, const http::JudgeOptions& options) : limits_(limits), options_(options) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override;
  void failed(Side side, int error, Wire& wire) override;
  void expired(Wire& wire) override;
  void drain(Wire& wire) override;
  bool holds(Side from) const override { return from == Side::client && !is_over_ && request_.state == State::done; }
  bool is_idle() const override { return request_.state == State::head && !request_.begun; }
  size_t memory() const override;

 private:
  enum class State : uint8_t { head, body, chunks, chunk_data, discarded, until_close, done, tunnel };

  struct Request {
    State state = State::head;
    uint64_t begun = 0;
    size_t scanned = 0;
    uint64_t discards = 0;
    bool skipped = false;  // an empty line before it
    bool keep_alive = true, upgrades = false, is_head = false, is_connect = false, is_sent = false;
    uint32_t rules = 0;
    http::Detail detail;
    std::string replay;  // what was sent, where it may be sent again to another connection
    Chunks chunks;
  };

  struct Response {
    State state = State::head;
    uint64_t begun = 0;
    size_t scanned = 0;
    int status = 0;
    int informational = 0;
    bool keep_alive = true;
    Chunks chunks;
  };

  size_t from_client(std::string_view bytes, Wire& wire);
  size_t from_server(std::string_view bytes, Wire& wire);
  size_t begin(std::string_view bytes, Wire& wire);
  void forward(std::string_view head, const RequestHead& request, const http::Judgement& judgement, Wire& wire);
  void deny(const RequestHead& request, const http::Judgement& judgement, Wire& wire);
  size_t answered(std::string_view bytes, Wire& wire);
  size_t pass_chunks(Side from, Chunks& chunks, State& state, std::string_view bytes, Wire& wire);
  void answer(int status, std::string_view phrase, std::string_view body, bool close, Wire& wire, std::string_view location = "");
  void refuse(const char* reason, Wire& wire);
  void server_is_bad(const char* reason, int status, std::string_view phrase, Wire& wire);
  void complete(Wire& wire);
  void tunnel(Wire& wire);
  void tell(Verdict verdict, bool ingress, const char* reason, Wire& wire);
  void close(Wire& wire);

  const Limits& limits_;
  const http::JudgeOptions options_;
  Request request_;
  Response response_;
  bool client_ended_ = false, is_over_ = false, draining_ = false;
  uint32_t served_ = 0;  // requests that this connection to the server has answered
};

}  // namespace tandem::l7::http1
