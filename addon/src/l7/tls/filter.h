// SPDX-License-Identifier: Apache-2.0
// TLS by the name that the client asks for (serverNames): the first ClientHello decides, then everything passes as it was sent. A second one, after
// HelloRetryRequest, has to name the same server (RFC 8446 4.1.2), and the server that asked for it checks that.
#pragma once

#include "l7/filter.h"
#include "l7/limits.h"
#include "l7/tls/client-hello.h"

namespace tandem::l7::tls {

class TlsFilter : public Filter {
 public:
  explicit TlsFilter(const Limits& limits) : limits_(limits) {}

  size_t receive(Side from, std::string_view bytes, Wire& wire) override;
  void ended(Side from, std::string_view left, Wire& wire) override;
  void failed(Side side, int error, Wire& wire) override;
  void expired(Wire& wire) override;
  void drain(Wire& wire) override;
  bool is_idle() const override { return begun_ == 0; }
  size_t memory() const override { return sizeof(*this) + hello_.memory(); }

 private:
  void close(Verdict verdict, bool ingress, const char* reason, Wire& wire);
  void tell(Verdict verdict, bool ingress, const char* reason, Wire& wire);

  const Limits& limits_;
  HelloReader hello_;
  std::string name_;
  uint64_t begun_ = 0;
  uint32_t rules_ = 0;
  bool passes_ = false, is_over_ = false;
};

}  // namespace tandem::l7::tls
