// SPDX-License-Identifier: Apache-2.0
// The streams of Http2Filter: what each side says of one becomes what the other is told.
#include <cstdlib>
#include <string>

#include "l7/http2/filter.h"

namespace tandem::l7::http2 {
namespace {

std::string reset_by(const char* who, uint32_t code) {
  static constexpr const char* names[] = {"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
                                          "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
                                          "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"};
  return std::string("reset by the ") + who + ": " + (code < std::size(names) ? names[code] : std::to_string(code));
}

}  // namespace

void Http2Filter::on_head(Session& session, int32_t stream, Session::Kind kind, Fields&& fields, bool last, bool too_large) {
  if (&session == &front_ && kind == Session::Kind::request) {
    asked(stream, fields, last, too_large);
    return;
  }
  if (&session == &front_) {
    const auto found = streams_.find(stream);
    if (found == streams_.end() || !found->second.back_open) return;
    found->second.request_ended = true;
    if (too_large) front_.reset(stream, enhance_your_calm);
    else back_->finish(found->second.back, &fields);
    return;
  }
  if (const int32_t front = of_back(stream)) answered(front, kind, std::move(fields), last, too_large);
}

void Http2Filter::asked(int32_t id, const Fields& fields, bool last, bool too_large) {
  Stream& stream = streams_[id];
  stream.begun = wire_->now();
  stream.request_ended = last;
  RequestHead request;
  const char* refused = too_large ? "a head that is too large" : read_request(fields, request);
  stream.is_grpc = request.is_grpc;
  stream.is_connect = request.is_connect;
  stream.is_head = request.method == "HEAD";
  stream.detail.method = std::string(request.method);
  stream.detail.host = std::string(request.authority);
  stream.detail.path = std::string(request.target);
  if (refused != nullptr) {
    if (too_large) wire_->reached(Limit::head);
    stream.verdict = Verdict::refused;
    stream.reason = refused;
    const std::string text = std::string(refused) + "\r\n";
    answer(id, stream, request, {too_large ? 431 : 400, too_large ? resource_exhausted : internal, text, {}});
    return;
  }
  const http::Judgement judgement =
      http::judge({request.method, request.target, request.authority, &request.headers}, wire_->demands(), options_);
  switch (judgement.verdict) {
    case Verdict::forwarded:
      forward(id, stream, fields, request, judgement, last);
      return;
    case Verdict::redirected:
      stream.verdict = Verdict::redirected;
      answer(id, stream, request, {307, internal, {}, judgement.target});
      return;
    case Verdict::denied:
      stream.verdict = Verdict::denied;
      stream.ingress = judgement.ingress;
      answer(id, stream, request, {403, permission_denied, http::denied_text, {}});
      return;
    default: {
      stream.verdict = Verdict::refused;
      stream.reason = judgement.reason;
      const std::string text = judgement.reason + "\r\n";
      answer(id, stream, request, {400, internal, text, {}});
    }
  }
}

void Http2Filter::forward(int32_t id, Stream& stream, const Fields& fields, const RequestHead& request, const http::Judgement& judgement,
                          bool last) {
  stream.rules = judgement.rules;
  stream.detail.mismatches = judgement.mismatches;
  if (back_ == nullptr) {
    back_ = std::make_unique<Session>(Session::Role::client, limits_, *this);
    server_spoke_ = false;
    back_owed_ = 0;
  }
  const bool as_sent = judgement.edits.empty() && judgement.target == request.target;
  stream.back = as_sent ? back_->request(fields, last) : back_->request(rewrite(fields, request, judgement), last);
  if (stream.back == 0) {
    front_.reset(id, refused_stream);
    return;
  }
  stream.back_open = true;
  fronts_[stream.back] = id;
}

void Http2Filter::answer(int32_t id, Stream& stream, const RequestHead& request, const Answer& answer) {
  std::string_view body;
  const Fields head = head_of(answer, request, body);
  stream.answered = stream.answer_ended = true;
  stream.detail.status = request.is_grpc && answer.location.empty() ? 200 : answer.status;
  if (request.is_grpc && answer.location.empty()) stream.detail.grpc_status = answer.grpc_status;
  front_.respond(id, head, body.empty());
  if (!body.empty()) {
    front_.data(id, body);
    front_.finish(id, nullptr);
  }
  // A body that may follow is nobody's any more.
  front_.reset_when_finished(id, no_error);
}

void Http2Filter::answered(int32_t id, Session::Kind kind, Fields&& fields, bool last, bool too_large) {
  Stream& stream = streams_.at(id);
  if (stream.first_byte == 0) stream.first_byte = wire_->now();
  if (too_large) {
    wire_->reached(Limit::head);
    back_->reset(stream.back, cancel);
    fail(id, stream, "an answer whose head is too large", 502, internal);
    return;
  }
  if (!stream.front_open) return;
  if (kind == Session::Kind::informational) {
    front_.informational(id, fields);
    return;
  }
  if (stream.is_grpc && (last || kind == Session::Kind::trailers)) stream.detail.grpc_status = grpc_status(fields);
  if (kind == Session::Kind::trailers) {
    front_.finish(id, &fields);
    stream.answer_ended = true;
    return;
  }
  stream.answered = true;
  stream.answer_ended = last;
  stream.detail.status = std::atoi(std::string(fields.find(":status")).c_str());  // three digits: libnghttp2 has seen to it
  front_.respond(id, fields, last);
}

void Http2Filter::on_data(Session& session, int32_t id, std::string_view bytes) {
  if (&session == &front_) {
    const auto found = streams_.find(id);
    if (found != streams_.end() && found->second.back_open) back_->data(found->second.back, bytes);
    else front_.consume_stream(id, bytes.size());
  } else {
    const int32_t front = of_back(id);
    if (front != 0 && streams_.at(front).front_open) front_.data(front, bytes);
    else session.consume_stream(id, bytes.size());
  }
  consume(session, bytes.size());
}

void Http2Filter::on_sent(Session& session, int32_t id, size_t count) {
  if (&session == &front_) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || !found->second.back_open) return;
    back_->consume_stream(found->second.back, count);
  } else if (const int32_t front = of_back(id)) {
    front_.consume_stream(front, count);
  }
}

void Http2Filter::on_end(Session& session, int32_t id) {
  if (&session == &front_) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    found->second.request_ended = true;
    if (found->second.back_open) back_->finish(found->second.back, nullptr);
    return;
  }
  const int32_t front = of_back(id);
  if (front == 0) return;
  streams_.at(front).answer_ended = true;
  front_.finish(front, nullptr);
}

void Http2Filter::on_closed(Session& session, int32_t id, uint32_t code) {
  if (&session == &front_) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    Stream& stream = found->second;
    stream.front_open = false;
    if (stream.back_open && (code != no_error || !stream.request_ended || !stream.answer_ended)) {
      if (stream.verdict == Verdict::forwarded && !stream.answer_ended) {
        stream.verdict = Verdict::failed;
        stream.reason = reset_by("client", code);
      }
      back_->reset(stream.back, code == no_error ? cancel : code);
    }
    end_if_over(id);
    return;
  }
  const int32_t front = of_back(id);
  fronts_.erase(id);
  if (front != 0) back_closed(front, streams_.at(front), code);
}

void Http2Filter::back_closed(int32_t id, Stream& stream, uint32_t code) {
  stream.back_open = false;
  if (stream.front_open) {
    if (stream.answer_ended) {
      front_.reset_when_finished(id, stream.verdict == Verdict::forwarded ? code : no_error);
    } else {
      if (stream.verdict == Verdict::forwarded) {
        stream.verdict = Verdict::failed;
        stream.reason = reset_by("server", code);
      }
      front_.reset(id, code);
    }
  }
  end_if_over(id);
}

void Http2Filter::on_goaway(Session& session, uint32_t code) {
  if (&session != &front_) {
    // Streams that it has not seen are refused by libnghttp2, and so to the client; it may ask again on another connection.
    front_.goaway(code);
    draining_ = true;
    return;
  }
  draining_ = true;
  if (back_ != nullptr) back_->goaway(code);
}

void Http2Filter::on_malformed(Session& session, int32_t id, const char* reason) {
  if (&session != &front_) {
    const int32_t front = of_back(id);
    if (front != 0 && !streams_.at(front).answer_ended) fail(front, streams_.at(front), "an answer that is not well-formed", 502, internal);
    return;
  }
  const auto found = streams_.find(id);
  if (found == streams_.end()) {
    tell_connection(reason);
    return;
  }
  if (found->second.answered) return;
  found->second.verdict = Verdict::refused;
  found->second.reason = reason;
}

// Of what was passed on and is not answered: by an answer where the client has nothing of it yet, else by a reset.
void Http2Filter::fail(int32_t id, Stream& stream, const char* reason, int status, int grpc) {
  stream.verdict = Verdict::failed;
  stream.reason = reason;
  if (stream.answered) {
    front_.reset(id, internal_error);
    return;
  }
  RequestHead request;
  request.is_grpc = stream.is_grpc;
  request.method = stream.is_head ? "HEAD" : "";
  const std::string text = std::string(reason) + "\r\n";
  answer(id, stream, request, {status, grpc, text, {}});
}

void Http2Filter::end_if_over(int32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end() || found->second.front_open || found->second.back_open) return;
  tell(found->second);
  streams_.erase(found);
}

int32_t Http2Filter::of_back(int32_t back) const {
  const auto found = fronts_.find(back);
  return found == fronts_.end() ? 0 : found->second;
}

}  // namespace tandem::l7::http2
