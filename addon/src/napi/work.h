// SPDX-License-Identifier: Apache-2.0
// Work off the event loop that settles a promise, and guards that turn failures of either kind into JavaScript errors.
#pragma once

#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "napi/failure.h"

namespace tandem {

// Runs `work` on a pool thread, then `convert(env, result)` on the JavaScript thread.
template <typename Result>
class Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, std::function<Result()> work, std::function<Napi::Value(Napi::Env, Result&)> convert)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        convert_(std::move(convert)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      result_ = std::make_unique<Result>(work_());
    } catch (const Failure& failure) {
      failure_ = std::make_unique<Failure>(failure);
    } catch (const std::exception& error) {
      failure_ = std::make_unique<Failure>(EIO, "internal error", error.what());
    }
  }

  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (failure_) {
      deferred_.Reject(to_javascript(Env(), *failure_).Value());
      return;
    }
    try {
      deferred_.Resolve(convert_(Env(), *result_));
    } catch (const Failure& failure) {
      deferred_.Reject(to_javascript(Env(), failure).Value());
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<Result()> work_;
  std::function<Napi::Value(Napi::Env, Result&)> convert_;
  std::unique_ptr<Result> result_;
  std::unique_ptr<Failure> failure_;
};

template <typename Result>
Napi::Value promise_of(Napi::Env env, std::function<Result()> work,
                       std::function<Napi::Value(Napi::Env, Result&)> convert) {
  auto* worker = new Worker<Result>(env, std::move(work), std::move(convert));  // deletes itself when it has settled
  Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

// For work without a result.
inline Napi::Value promise_of_nothing(Napi::Env env, std::function<void()> work) {
  return promise_of<int>(
      env, [work = std::move(work)] { work(); return 0; }, [](Napi::Env e, int&) { return e.Undefined(); });
}

using BindingFunction = Napi::Value (*)(const Napi::CallbackInfo&);

// The one converter of C++ exceptions at the boundary: calls `on_error` with a JavaScript error for whatever was thrown.
template <BindingFunction function, typename OnError>
Napi::Value guarded(const Napi::CallbackInfo& info, OnError on_error) {
  try {
    return function(info);
  } catch (const Failure& failure) {
    return on_error(to_javascript(info.Env(), failure));
  } catch (const Napi::Error& error) {
    return on_error(error);
  } catch (const std::exception& error) {
    return on_error(to_javascript(info.Env(), Failure(EIO, "internal error", error.what())));
  }
}

template <BindingFunction function>
Napi::Value throwing(const Napi::CallbackInfo& info) {
  return guarded<function>(info, [](const Napi::Error& error) -> Napi::Value { throw error; });
}

template <BindingFunction function>
Napi::Value rejecting(const Napi::CallbackInfo& info) {
  return guarded<function>(info, [&](const Napi::Error& error) -> Napi::Value {
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(error.Value());
    return deferred.Promise();
  });
}

// A function that returns at once and throws its failures.
template <BindingFunction function>
void define(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<throwing<function>>(exports.Env(), name));
}

// A function that returns a promise: all of its failures, refused arguments too, are rejections.
template <BindingFunction function>
void define_async(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<rejecting<function>>(exports.Env(), name));
}

}  // namespace tandem
