// SPDX-License-Identifier: Apache-2.0
// For flows that came here by a policy that asks no more: bytes of both sides pass, whatever they are.
#pragma once

#include "l7/filter.h"

namespace tandem::l7 {

class PassFilter : public Filter {
 public:
  size_t receive(Side from, std::string_view bytes, Wire& wire) override {
    if (!connected_) wire.send(Side::server, "");
    connected_ = true;
    if (!bytes.empty()) wire.pass(from, everything);
    return 0;
  }

  void ended(Side from, std::string_view, Wire& wire) override { wire.end(other(from), Ending::finish); }

  void failed(Side side, int, Wire& wire) override {
    wire.end(other(side), Ending::reset);
    wire.end(Side::client, Ending::reset);
  }

  void expired(Wire&) override {}
  void drain(Wire&) override {}
  bool is_idle() const override { return false; }
  size_t memory() const override { return sizeof(*this); }

 private:
  bool connected_ = false;
};

}  // namespace tandem::l7
