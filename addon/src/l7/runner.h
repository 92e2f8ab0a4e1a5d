// SPDX-License-Identifier: Apache-2.0
// Runs a filter on given bytes, without sockets, clocks or threads: for tests, fuzzers, and whoever wants to know what rules would say.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "l7/filter.h"

namespace tandem::l7 {

class Runner : public Wire {
 public:
  explicit Runner(Demands demands) : demands_(std::move(demands)) {}

  void use(std::unique_ptr<Filter> filter);
  void feed(Side from, std::string_view bytes);
  void finish(Side from);
  void fail(Side side, int error);
  void expire();

  struct Out {
    std::string bytes;
    bool finished = false, reset = false;
    uint32_t connections = 0;  // to the server
  };
  const Out& out(Side to) const { return outs_[static_cast<int>(to)]; }
  const std::vector<Record>& records() const { return records_; }
  const Filter& filter() const { return *filter_; }

  // Wire
  void send(Side to, std::string_view bytes) override;
  void pass(Side from, uint64_t count) override;
  uint64_t passing(Side from) const override { return halves_[static_cast<int>(from)].passing; }
  void end(Side to, Ending ending) override;
  size_t waiting(Side) const override { return 0; }
  const Demands& demands() override { return demands_; }
  void expire_after(uint32_t milliseconds) override { timer_ = milliseconds; }
  uint64_t now() const override { return 1; }
  void record(Record&& record) override { records_.push_back(std::move(record)); }

 private:
  struct Half {
    std::string input;
    uint64_t passing = 0;
    bool has_passed = false, ended = false, ended_told = false;
  };

  void offer();
  bool offer(Side side);
  void move_passing(Side side);

  Demands demands_;
  std::unique_ptr<Filter> filter_;
  Half halves_[2];
  Out outs_[2];
  std::vector<Record> records_;
  uint32_t timer_ = 0, serial_ = 0;
  bool connected_ = false;
};

}  // namespace tandem::l7
