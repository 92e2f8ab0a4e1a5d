// SPDX-License-Identifier: Apache-2.0
// Which HTTP a client speaks is known by its first bytes: HTTP/2 begins with a preface that no HTTP/1 request is (RFC 9113 3.4). From then on
// the filter of that version has the connection.
#pragma once

#include <memory>

#include "l7/filter.h"
#include "l7/http/judge.h"
#include "l7/limits.h"

namespace tandem::l7::http {

class HttpFilter : public Filter {
 public:
  HttpFilter(const Limits& limits, const JudgeOptions& options) : limits_(limits), options_(options) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override { known().ended(from, left, wire); }
  void failed(Side side, int error, Wire& wire) override { known().failed(side, error, wire); }
  void drained(Side to, Wire& wire) override { known().drained(to, wire); }
  void expired(Wire& wire) override { known().expired(wire); }
  void drain(Wire& wire) override { known().drain(wire); }
  bool holds(Side from) const override { return version_ != nullptr && version_->holds(from); }
  bool is_idle() const override { return version_ == nullptr || version_->is_idle(); }
  size_t memory() const override { return sizeof(*this) + (version_ == nullptr ? 0 : version_->memory()); }

 private:
  // Who has not said enough to speak HTTP/2 is treated as HTTP/1 treats it.
  Filter& known();

  const Limits& limits_;
  const JudgeOptions options_;
  std::unique_ptr<Filter> version_;
  bool begun_ = false;
};

}  // namespace tandem::l7::http
