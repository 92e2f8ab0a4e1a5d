// SPDX-License-Identifier: Apache-2.0
#include "l7/http2/message.h"

#include <algorithm>

#include "l7/http/text.h"

namespace tandem::l7::http2 {
namespace {

// "application/grpc", with a suffix or a parameter; grpc-web answers as other requests do.
bool is_grpc(std::string_view type) {
  constexpr std::string_view base = "application/grpc";
  return type.substr(0, base.size()) == base && (type.size() == base.size() || type[base.size()] == '+' || type[base.size()] == ';');
}

}  // namespace

const char* read_request(const Fields& fields, RequestHead& out) {
  std::string_view host;
  bool has_host = false, has_authority = false;
  size_t cookies = 0;
  for (size_t at = 0; at < fields.size(); at++) {
    const std::string_view name = fields.name(at), value = fields.value(at);
    if (name == ":method") out.method = value;
    else if (name == ":path") out.target = value;
    else if (name == ":authority") out.authority = value, has_authority = true;
    if (name.empty() || name[0] == ':') continue;
    if (!http::is_token(name)) return "a character that no header's name may have";
    if (name == "host") {
      if (has_host) return "more than one Host";
      has_host = true;
      host = value;
    } else if (name == "cookie") {
      if (cookies++ > 0) out.cookie.append("; ");
      out.cookie.append(value);
      continue;
    } else if (name == "content-type") {
      out.is_grpc = out.is_grpc || is_grpc(value);
    }
    out.headers.push_back({name, value});
  }
  if (cookies > 0) out.headers.push_back({"cookie", out.cookie});
  out.is_connect = out.method == "CONNECT";
  if (!http::is_token(out.method)) return "a character that no method may have";
  if (has_host && has_authority && host != out.authority) return "another Host than :authority says";
  if (!has_authority) out.authority = host;
  if (out.authority.empty()) return "neither :authority nor Host";
  if (!http::is_host(out.authority)) return "a character that no host may have";
  if (out.is_connect) {
    if (out.authority.find(':') == std::string_view::npos) return "CONNECT without host and port";
    out.target = out.authority;
    return nullptr;
  }
  if (out.target.empty() || !http::is_visible(out.target)) return "a character that no target may have";
  if (out.target == "*") return out.method == "OPTIONS" ? nullptr : "the target * of a method other than OPTIONS";
  return out.target[0] == '/' ? nullptr : "a target in no form of HTTP/2";
}

Fields rewrite(const Fields& fields, const RequestHead& request, const http::Judgement& judgement) {
  Fields made;
  for (size_t at = 0; at < fields.size(); at++) {
    const std::string_view name = fields.name(at);
    const bool replaced = std::any_of(judgement.edits.begin(), judgement.edits.end(), [&](const http::Edit& edit) {
      return edit.kind != http::Edit::Kind::add && name == edit.name;
    });
    if (replaced) continue;
    made.add(name, name == ":path" && !request.is_connect ? std::string_view(judgement.target) : fields.value(at), fields.is_secret(at));
  }
  for (const http::Edit& edit : judgement.edits)
    if (edit.kind != http::Edit::Kind::remove) made.add(edit.name, edit.value);
  return made;
}

Fields head_of(const Answer& answer, const RequestHead& request, std::string_view& body) {
  Fields made;
  body = {};
  if (request.is_grpc && answer.location.empty()) {
    std::string_view message = answer.text;
    while (!message.empty() && (message.back() == '\n' || message.back() == '\r')) message.remove_suffix(1);
    made.add(":status", "200");
    made.add("content-type", "application/grpc");
    made.add("grpc-status", std::to_string(answer.grpc_status));
    made.add("grpc-message", message);
    return made;
  }
  made.add(":status", std::to_string(answer.status));
  if (!answer.location.empty()) made.add("location", answer.location);
  if (!answer.text.empty()) made.add("content-type", "text/plain");
  made.add("content-length", std::to_string(answer.text.size()));
  if (request.method != "HEAD") body = answer.text;
  return made;
}

std::optional<int> grpc_status(const Fields& fields) {
  const std::string_view text = fields.find("grpc-status");
  if (text.empty() || text.size() > 3) return std::nullopt;
  int status = 0;
  for (const char byte : text) {
    if (byte < '0' || byte > '9') return std::nullopt;
    status = status * 10 + (byte - '0');
  }
  return status;
}

}  // namespace tandem::l7::http2
