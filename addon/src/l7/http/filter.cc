// SPDX-License-Identifier: Apache-2.0
#include "l7/http/filter.h"

#include "l7/http1/filter.h"
#include "l7/http2/filter.h"

namespace tandem::l7::http {
namespace {

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

}  // namespace

size_t HttpFilter::receive(Side from, std::string_view bytes, Wire& wire) {
  if (version_ != nullptr) return version_->receive(from, bytes, wire);
  if (from == Side::server) return known().receive(from, bytes, wire);
  if (bytes.empty()) {
    wire.expire_after(limits_.idle_timeout);
    return 0;
  }
  const std::string_view start = bytes.substr(0, preface.size());
  if (start == preface.substr(0, start.size())) {
    if (start.size() < preface.size()) {
      if (!begun_) wire.expire_after(limits_.head_timeout);
      begun_ = true;
      return 0;
    }
    version_ = std::make_unique<http2::Http2Filter>(limits_, options_);
  }
  return known().receive(from, bytes, wire);
}

Filter& HttpFilter::known() {
  if (version_ == nullptr) version_ = std::make_unique<http1::Http1Filter>(limits_, options_);
  return *version_;
}

}  // namespace tandem::l7::http
