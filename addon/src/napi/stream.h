// SPDX-License-Identifier: Apache-2.0
// Batches from a thread to a JavaScript function, one call each, in order. A slow function holds the producer back (see sink.h).
#pragma once

#include <napi.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bpf/state.h"
#include "napi/sink.h"

namespace tandem {

// Made, closed and destroyed on the JavaScript thread; the producer's thread must be gone before close().
template <typename Batch>
class Stream : public Sink<Batch> {
 public:
  using Arguments = std::function<std::vector<napi_value>(Napi::Env, Batch&)>;

  // At most `limit` batches wait. `arguments` turns one into what the function is called with.
  Stream(Napi::Env env, const char* name, Napi::Function callback, size_t limit, Arguments arguments)
      : shared_(std::make_shared<Shared>(limit, std::move(arguments))), callback_(Napi::Persistent(callback)) {
    // The Node-API function and not its C++ wrapper, which forgets calls that wait when the environment ends.
    auto* kept = new std::shared_ptr<Shared>(shared_);
    napi_status status = napi_create_threadsafe_function(env, callback, nullptr, Napi::String::New(env, name), 0, 1, kept, finish, kept,
                                                         call, &function_);
    if (status == napi_ok) {
      napi_unref_threadsafe_function(env, function_);
      return;
    }
    delete kept;
    throw Napi::Error::New(env);
  }

  bool has_room() override {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    return shared_->waiting.size() < shared_->limit;
  }

  int room_fd() const override { return shared_->room.get(); }

  void push(Batch batch) override {
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->waiting.push_back(std::move(batch));
    }
    napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
  }

  // Delivers what waits, so that nothing is called after it.
  void close(Napi::Env env) {
    while (shared_->deliver_one(env, callback_.Value())) {
    }
  }

  // The environment goes: nothing is delivered any more. Also the last act of a life that ended by close().
  void release() {
    if (std::exchange(released_, true)) return;
    napi_release_threadsafe_function(function_, napi_tsfn_release);
  }

 private:
  struct Shared {
    Shared(size_t limit, Arguments arguments) : limit(limit), arguments(std::move(arguments)) {}

    bool deliver_one(Napi::Env env, const Napi::Function& callback) {
      std::unique_lock<std::mutex> lock(mutex);
      if (waiting.empty()) return false;
      const bool was_full = waiting.size() >= limit;
      Batch batch = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      const uint64_t one = 1;
      if (was_full) (void)!write(room.get(), &one, sizeof(one));
      try {
        Napi::HandleScope scope(env);
        callback.Call(arguments(env, batch));
      } catch (const Napi::Error& error) {
        // What the receiver throws is the process's uncaught exception; else Node would only warn of it.
        napi_fatal_exception(env, error.Value());
      }
      return true;
    }

    const size_t limit;
    const Arguments arguments;
    std::mutex mutex;
    std::deque<Batch> waiting;
    Descriptor room{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  };

  // One batch a call; close() may have taken it already.
  static void call(napi_env env, napi_value callback, void* context, void*) {
    if (env != nullptr) (*static_cast<std::shared_ptr<Shared>*>(context))->deliver_one(env, Napi::Function(env, callback));
  }

  static void finish(napi_env, void* kept, void*) { delete static_cast<std::shared_ptr<Shared>*>(kept); }

  std::shared_ptr<Shared> shared_;
  Napi::FunctionReference callback_;
  napi_threadsafe_function function_ = nullptr;
  bool released_ = false;
};

}  // namespace tandem
