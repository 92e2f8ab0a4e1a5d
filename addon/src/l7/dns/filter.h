// SPDX-License-Identifier: Apache-2.0
// DNS over TCP (RFC 7766): questions one behind the other, answers in any order, each with its length before it.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "l7/dns/options.h"
#include "l7/dns/questions.h"
#include "l7/filter.h"

namespace tandem::l7::dns {

class DnsFilter : public Filter {
 public:
  explicit DnsFilter(std::shared_ptr<Shared> shared) : shared_(std::move(shared)), questions_(shared_->options.most_questions) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override;
  void failed(Side side, int error, Wire& wire) override;
  void expired(Wire& wire) override;
  void drain(Wire&) override {}
  bool is_idle() const override { return questions_.size() == 0 && held_.empty(); }
  size_t memory() const override;

 private:
  struct Held {
    uint64_t ticket;
    uint64_t until;  // ns
    std::string message;
  };

  void ask(std::string_view message, Wire& wire);
  void answer(std::string_view message, Wire& wire);
  void send(Side to, std::string_view message, Wire& wire);
  void refuse(const char* reason, Wire& wire);
  void release(Wire& wire);
  void forget(const char* reason, Wire& wire);
  void rearm(Wire& wire);

  const std::shared_ptr<Shared> shared_;
  Questions questions_;
  std::deque<Held> held_;
  std::string parts_[2];  // of a message that has not come whole, with its length; by Side
  bool has_server_ = false, client_ended_ = false, server_ended_ = false, is_over_ = false;
};

}  // namespace tandem::l7::dns
