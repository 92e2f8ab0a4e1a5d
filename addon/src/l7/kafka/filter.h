// SPDX-License-Identifier: Apache-2.0
// Kafka by its rules: each request is judged by its API, version, client and topics before any of it is passed on. Servers answer in the order of
// the requests, so what is denied is answered when all before it are.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "l7/filter.h"
#include "l7/kafka/judge.h"
#include "l7/kafka/message.h"
#include "l7/limits.h"

namespace tandem::l7::kafka {

class KafkaFilter : public Filter {
 public:
  explicit KafkaFilter(const Limits& limits) : limits_(limits) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override;
  void failed(Side side, int error, Wire& wire) override;
  void expired(Wire& wire) override;
  void drain(Wire& wire) override;
  bool holds(Side from) const override { return from == Side::client && !is_over_ && pending_.size() >= most_pending; }
  bool is_idle() const override { return pending_.empty() && begun_ == 0; }
  size_t memory() const override;

 private:
  // Requests on their way; beyond, no more are read.
  static constexpr size_t most_pending = 1000;

  // What one request is to get.
  struct Pending {
    RequestHead head;
    uint64_t begun = 0;
    uint32_t rules = 0;
    std::vector<std::string> topics;
    std::string answer;  // of ours; empty: the server's is waited for
    bool ingress = false;
  };
  enum class Waits : uint8_t { unset, nothing, request, answer };
  struct Judgement {
    bool allowed = false;
    bool ingress = false;  // denied by the server's end
    uint32_t rules = 0;
  };

  size_t from_client(std::string_view bytes, Wire& wire);
  size_t from_server(std::string_view bytes, Wire& wire);
  size_t begin(std::string_view bytes, Wire& wire);
  size_t collect(std::string_view bytes, Wire& wire);
  Judgement judge(Topics topics, Wire& wire) const;
  void forward(std::string_view start, uint64_t size, const Judgement& judgement, const std::optional<std::vector<Topic>>& topics, Wire& wire);
  void deny(const Judgement& judgement, const std::optional<std::vector<Topic>>& topics, Wire& wire);
  void answer_in_turn(Wire& wire);
  void request_is_over(Wire& wire);
  void rearm(Wire& wire);
  void tell(Verdict verdict, const Pending& pending, uint64_t answered, int16_t error, const char* reason, Wire& wire);
  void refuse(const char* reason, Wire& wire);
  void refuse_size(const char* reason, Wire& wire);
  void close(Ending ending, Wire& wire);

  const Limits& limits_;
  uint64_t begun_ = 0;     // of the request that is coming
  RequestHead head_;
  std::string collected_;  // a request whose topics have to be known; empty: none is
  size_t wanted_ = 0;      // its bytes, with its size
  bool passes_ = false;    // the rest of one is passing
  bool answer_passes_ = false;  // the rest of an answer is passing
  std::deque<Pending> pending_;
  Waits waits_ = Waits::unset;
  uint64_t since_ = 0;  // when the request began whose answer is waited for
  bool is_over_ = false, draining_ = false, client_ended_ = false;
};

}  // namespace tandem::l7::kafka
