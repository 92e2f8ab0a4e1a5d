// SPDX-License-Identifier: Apache-2.0
#include "napi/failure.h"

#include <cstring>

namespace tandem {
namespace {

// strerror for those that only the kernel knows by name.
std::string errno_text(int error) { return error == 524 ? "Operation not supported by this kind of object" : strerror(error); }

std::string describe(int error, const std::string& operation, const std::string& object, const std::string& log) {
  std::string text = operation + (object.empty() ? "" : (operation.empty() ? "" : " ") + object) + ": " + errno_name(error) + " (" +
                     errno_text(error) + ")";
  if (log.empty()) return text;
  // The last lines of a verifier log tell what it disliked; the whole log is in .log.
  size_t from = log.size();
  for (int lines = 0; from > 0 && lines < 12; lines++) {
    size_t previous = log.rfind('\n', from - 1);
    if (previous == std::string::npos) {
      from = 0;
      break;
    }
    from = previous;
  }
  return text + "\n" + log.substr(from);
}

}  // namespace

Failure::Failure(int error, std::string operation, std::string object, std::string log)
    : std::runtime_error(describe(error, operation, object, log)),
      error(error),
      operation(std::move(operation)),
      object(std::move(object)),
      log(std::move(log)) {}

std::string errno_name(int error) {
  if (const char* name = strerrorname_np(error)) return name;
  if (error == 524) return "ENOTSUPP";  // kernel-internal, but eBPF lets it out
  return "E" + std::to_string(error);
}

Napi::Error to_javascript(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, errno_name(failure.error)));
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("operation", Napi::String::New(env, failure.operation));
  error.Set("object", Napi::String::New(env, failure.object));
  error.Set("log", failure.log.empty() ? env.Null() : Napi::Value(Napi::String::New(env, failure.log)));
  return error;
}

}  // namespace tandem
