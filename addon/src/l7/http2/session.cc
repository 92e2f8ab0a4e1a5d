// SPDX-License-Identifier: Apache-2.0
#include "l7/http2/session.h"

#include <malloc.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace tandem::l7::http2 {
namespace {

constexpr uint32_t most_streams = 100;
constexpr int32_t stream_window = 256 * 1024;
constexpr int32_t connection_window = 1024 * 1024;
// Fields are decoded to the end, since the tables of HPACK belong to the connection; a head that goes on and on beyond its limit ends it.
constexpr size_t bomb = 4;
// What nghttp2 allows by default since it knows of rapid resets (CVE-2023-44487): a burst, and so many a second.
constexpr uint32_t most_resets = 1000, resets_per_second = 33;
constexpr uint32_t most_empty_frames = 1000;
constexpr uint64_t second = 1'000'000'000;

std::vector<nghttp2_nv> to_nghttp2(const Fields& fields) {
  std::vector<nghttp2_nv> list;
  list.reserve(fields.size());
  for (size_t at = 0; at < fields.size(); at++) {
    const std::string_view name = fields.name(at), value = fields.value(at);
    list.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())), reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())),
                    name.size(), value.size(), static_cast<uint8_t>(fields.is_secret(at) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
  }
  return list;
}

// Memory of one session, counted.
void* count(void* made, void* counter) {
  if (made != nullptr) *static_cast<size_t*>(counter) += malloc_usable_size(made);
  return made;
}

void release(void* memory, void* counter) {
  if (memory != nullptr) *static_cast<size_t*>(counter) -= malloc_usable_size(memory);
  free(memory);
}

void* resize(void* memory, size_t size, void* counter) {
  const size_t before = memory == nullptr ? 0 : malloc_usable_size(memory);
  void* made = realloc(memory, size);
  if (made != nullptr) *static_cast<size_t*>(counter) += malloc_usable_size(made) - before;
  return made;
}

}  // namespace

// What nghttp2 calls, all with the session as its last argument.
struct Callbacks {
  static Session& of(void* user) { return *static_cast<Session*>(user); }

  static int begin_headers(nghttp2_session*, const nghttp2_frame*, void* user) {
    Session& self = of(user);
    self.head_.clear();
    self.head_size_ = 0;
    self.too_large_ = false;
    self.in_head_ = true;
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size, const uint8_t* value,
                    size_t value_size, uint8_t flags, void* user) {
    Session& self = of(user);
    self.head_size_ += name_size + value_size + 32;
    if (self.head_size_ > self.limits_.head || self.head_.size() >= self.limits_.headers + 4) self.too_large_ = true;
    if (self.head_size_ > bomb * self.limits_.head) return self.end_flood();
    if (self.too_large_) return 0;
    self.head_.add({reinterpret_cast<const char*>(name), name_size}, {reinterpret_cast<const char*>(value), value_size},
                   flags & NGHTTP2_NV_FLAG_NO_INDEX);
    return 0;
  }

  static int frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& self = of(user);
    const int32_t stream = frame->hd.stream_id;
    const bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    self.begun_ = true;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        self.in_head_ = false;
        self.events_.on_head(self, stream, kind_of(self, *frame), std::move(self.head_), last, self.too_large_);
        self.head_ = Fields();
        break;
      case NGHTTP2_DATA:
        // Frames that carry nothing cost us and not who sends them.
        if (frame->hd.length == 0 && !last && ++self.empty_frames_ > most_empty_frames)
          return self.end_flood();
        if (last) self.events_.on_end(self, stream);
        break;
      case NGHTTP2_GOAWAY:
        self.events_.on_goaway(self, frame->goaway.error_code);
        break;
      default:
        break;
    }
    return 0;
  }

  static Session::Kind kind_of(const Session& self, const nghttp2_frame& frame) {
    if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) return Session::Kind::request;
    const std::string_view status = self.is_server_ ? std::string_view() : self.head_.find(":status");
    // Answers that are too large are none of these for sure; the filter asks too_large first.
    if (status.empty()) return frame.headers.cat == NGHTTP2_HCAT_RESPONSE ? Session::Kind::response : Session::Kind::trailers;
    return status[0] == '1' ? Session::Kind::informational : Session::Kind::response;
  }

  static int invalid(nghttp2_session*, const nghttp2_frame* frame, int error, void* user) {
    Session& self = of(user);
    self.in_head_ = false;
    self.events_.on_malformed(self, frame->hd.stream_id, nghttp2_strerror(error));
    return 0;
  }

  static int data(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* bytes, size_t size, void* user) {
    of(user).events_.on_data(of(user), stream, {reinterpret_cast<const char*>(bytes), size});
    return 0;
  }

  static int closed(nghttp2_session*, int32_t stream, uint32_t code, void* user) {
    Session& self = of(user);
    if (code != NGHTTP2_NO_ERROR && self.is_server_) self.count_reset();
    self.events_.on_closed(self, stream, code);
    self.forget(stream);
    return 0;
  }

  static int sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& self = of(user);
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)) return 0;
    const auto found = self.outgoing_.find(frame->hd.stream_id);
    if (found == self.outgoing_.end()) return 0;
    found->second.said = true;
    if (found->second.resets) self.stop(frame->hd.stream_id, found->second.code);
    return 0;
  }

  static ssize_t read(nghttp2_session* session, int32_t stream, uint8_t* into, size_t most, uint32_t* flags, nghttp2_data_source* source,
                      void* user) {
    Session& self = of(user);
    auto& out = *static_cast<Session::Outgoing*>(source->ptr);
    const size_t count = std::min(most, out.bytes.size() - out.taken);
    memcpy(into, out.bytes.data() + out.taken, count);
    out.taken += count;
    self.queued_ -= count;
    if (out.taken == out.bytes.size()) {
      out.taken = 0;
      out.bytes.clear();
    } else if (out.taken > out.bytes.size() / 2) {
      out.bytes.erase(0, out.taken);
      out.taken = 0;
    }
    if (count > 0) self.events_.on_sent(self, stream, count);
    if (out.bytes.empty() && out.ended) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (out.has_trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const std::vector<nghttp2_nv> list = to_nghttp2(out.trailers);
        if (nghttp2_submit_trailer(session, stream, list.data(), list.size()) != 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
      }
      return static_cast<ssize_t>(count);
    }
    if (count == 0) {
      out.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(count);
  }

  static const nghttp2_session_callbacks* all() {
    static nghttp2_session_callbacks* const made = [] {
      nghttp2_session_callbacks* callbacks = nullptr;
      if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
      nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame);
      nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, invalid);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data);
      nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, closed);
      nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, sent);
      return callbacks;
    }();
    return made;
  }

  static const nghttp2_option* options() {
    static nghttp2_option* const made = [] {
      nghttp2_option* option = nullptr;
      if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
      nghttp2_option_set_no_auto_window_update(option, 1);
      nghttp2_option_set_no_closed_streams(option, 1);
      nghttp2_option_set_peer_max_concurrent_streams(option, most_streams);
      return option;
    }();
    return made;
  }
};

Session::Session(Role role, const Limits& limits, Events& events)
    : limits_(limits), events_(events), resets_left_(most_resets), is_server_(role == Role::server) {
  nghttp2_mem memory{&memory_, [](size_t size, void* counter) { return count(malloc(size), counter); }, release,
                     [](size_t items, size_t size, void* counter) { return count(calloc(items, size), counter); }, resize};
  const auto make = is_server_ ? nghttp2_session_server_new3 : nghttp2_session_client_new3;
  if (make(&session_, Callbacks::all(), this, Callbacks::options(), &memory) != 0) throw std::bad_alloc();
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.head)},
      is_server_ ? nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, most_streams}
                 : nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, connection_window);
}

Session::~Session() { nghttp2_session_del(session_); }

const char* Session::receive(std::string_view bytes, uint64_t now) {
  now_ = now;
  const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return taken < 0 ? nghttp2_strerror(static_cast<int>(taken)) : nullptr;
}

std::string_view Session::next() {
  const uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
  if (size <= 0) return {};
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)};
}

int32_t Session::request(const Fields& fields, bool last) {
  const std::vector<nghttp2_nv> list = to_nghttp2(fields);
  // Its number is known only afterwards: the source finds its queue by that.
  if (last) {
    const int32_t stream = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), nullptr, nullptr);
    return stream < 0 ? 0 : stream;
  }
  const int32_t stream = nghttp2_session_get_next_stream_id(session_);
  Outgoing& out = outgoing_[stream];
  nghttp2_data_provider provider{};
  provider.source.ptr = &out;
  provider.read_callback = Callbacks::read;
  const int32_t made = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), &provider, nullptr);
  if (made == stream) return made;
  outgoing_.erase(stream);
  return 0;
}

void Session::informational(int32_t stream, const Fields& fields) {
  const std::vector<nghttp2_nv> list = to_nghttp2(fields);
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream, nullptr, list.data(), list.size(), nullptr);
}

void Session::respond(int32_t stream, const Fields& fields, bool last) {
  const std::vector<nghttp2_nv> list = to_nghttp2(fields);
  Outgoing& out = outgoing_[stream];
  nghttp2_data_provider provider{};
  provider.source.ptr = &out;
  provider.read_callback = Callbacks::read;
  nghttp2_submit_response(session_, stream, list.data(), list.size(), last ? nullptr : &provider);
}

void Session::data(int32_t stream, std::string_view bytes) {
  const auto found = outgoing_.find(stream);
  if (found == outgoing_.end() || found->second.ended) return;
  found->second.bytes.append(bytes);
  queued_ += bytes.size();
  if (!found->second.deferred) return;
  found->second.deferred = false;
  nghttp2_session_resume_data(session_, stream);
}

void Session::finish(int32_t stream, const Fields* trailers) {
  const auto found = outgoing_.find(stream);
  if (found == outgoing_.end() || found->second.ended) return;
  found->second.ended = true;
  if (trailers != nullptr) {
    found->second.has_trailers = true;
    found->second.trailers = *trailers;
  }
  if (!found->second.deferred) return;
  found->second.deferred = false;
  nghttp2_session_resume_data(session_, stream);
}

void Session::reset(int32_t stream, uint32_t code) { nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, code); }

void Session::reset_when_finished(int32_t stream, uint32_t code) {
  Outgoing& out = outgoing_[stream];
  out.resets = true;
  out.code = code;
  if (out.said) stop(stream, code);
}

void Session::stop(int32_t stream, uint32_t code) {
  if (nghttp2_session_get_stream_remote_close(session_, stream) == 0) reset(stream, code);
}

void Session::consume_stream(int32_t stream, size_t count) { nghttp2_session_consume_stream(session_, stream, count); }

void Session::consume_connection(size_t count) { nghttp2_session_consume_connection(session_, count); }

void Session::goaway(uint32_t code) {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), code, nullptr, 0);
}

void Session::terminate(uint32_t code) { nghttp2_session_terminate_session(session_, code); }

bool Session::is_over() const { return !nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_); }

void Session::forget(int32_t stream) {
  const auto found = outgoing_.find(stream);
  if (found == outgoing_.end()) return;
  queued_ -= found->second.bytes.size() - found->second.taken;
  outgoing_.erase(found);
}

int Session::end_flood() {
  events_.on_flood();
  return nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
}

void Session::count_reset() {
  const uint64_t seconds = (now_ - refilled_) / second;
  if (seconds > 0) {
    resets_left_ = static_cast<uint32_t>(std::min<uint64_t>(most_resets, resets_left_ + seconds * resets_per_second));
    refilled_ = now_;
  }
  if (resets_left_ == 0) {
    end_flood();
    return;
  }
  resets_left_--;
}

}  // namespace tandem::l7::http2
