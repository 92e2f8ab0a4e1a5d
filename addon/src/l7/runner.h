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

  // What a filter is shown for one call. Under AddressSanitizer a place of its own, exact to the byte and nobody's afterwards, so that reading
  // outside of it, or a view of it that is kept, is found. Places follow each other in one block and begin again at its end, as to allocate each
  // of them would cost more than the call.
  class Shown {
   public:
    Shown() = default;
    ~Shown();
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;
    std::string_view show(std::string_view bytes);
    void hide();

   private:
    [[maybe_unused]] std::unique_ptr<char[]> block_;
    [[maybe_unused]] size_t size_ = 0, at_ = 0, shown_ = 0;
  };

  void offer();
  bool offer(Side side);
  void move_passing(Side side);

  Demands demands_;
  std::unique_ptr<Filter> filter_;
  Half halves_[2];
  Out outs_[2];
  std::vector<Record> records_;
  std::string spare_;  // of what was shown, for what comes next
  Shown shown_;
  uint32_t timer_ = 0, serial_ = 0;
  bool connected_ = false;
};

}  // namespace tandem::l7
