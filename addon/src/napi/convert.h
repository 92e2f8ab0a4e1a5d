// SPDX-License-Identifier: Apache-2.0
// Plain data across the boundary. JavaScript has checked and explained arguments; here only types are checked.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "napi/failure.h"

namespace tandem {

using Bytes = std::vector<uint8_t>;

[[noreturn]] inline void bad_argument(const std::string& what) { throw Failure(EINVAL, "read arguments", what); }

inline std::string to_string(const Napi::Value& value, const char* what) {
  if (!value.IsString()) bad_argument(std::string(what) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

// null and undefined are "not set": the empty string here. An empty string there is a mistake: an empty netns must not mean the
// agent's own.
inline std::string to_optional_string(const Napi::Value& value, const char* what) {
  if (value.IsNull() || value.IsUndefined()) return "";
  std::string text = to_string(value, what);
  if (text.empty()) bad_argument(std::string(what) + " must not be empty; null means not set");
  return text;
}

// A whole number from 0 to `most`. Nothing is rounded, wrapped or cut: 70000 is not port 4464.
inline uint32_t to_u32(const Napi::Value& value, const char* what, uint32_t most = UINT32_MAX) {
  if (!value.IsNumber()) bad_argument(std::string(what) + " must be a number");
  double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= most) || number != std::floor(number))
    bad_argument(std::string(what) + " must be a whole number from 0 to " + std::to_string(most));
  return static_cast<uint32_t>(number);
}

inline int to_fd(const Napi::Value& value) { return static_cast<int>(to_u32(value, "descriptor", INT32_MAX)); }

inline Napi::Function to_function(const Napi::Value& value, const char* what) {
  if (!value.IsFunction()) bad_argument(std::string(what) + " must be a function");
  return value.As<Napi::Function>();
}

inline bool to_bool(const Napi::Value& value, const char* what) {
  if (!value.IsBoolean()) bad_argument(std::string(what) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

inline Bytes to_bytes(const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    bad_argument(std::string(what) + " must be a Buffer or Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  return Bytes(array.Data(), array.Data() + array.ByteLength());
}

inline Bytes to_optional_bytes(const Napi::Value& value, const char* what) {
  return value.IsNull() || value.IsUndefined() ? Bytes() : to_bytes(value, what);
}

inline Napi::Object to_object(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) bad_argument(std::string(what) + " must be an object");
  return value.As<Napi::Object>();
}

inline Napi::Array to_array(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) bad_argument(std::string(what) + " must be an array");
  return value.As<Napi::Array>();
}

inline Napi::Value from_bytes(Napi::Env env, const void* data, size_t size) {
  return Napi::Buffer<uint8_t>::Copy(env, static_cast<const uint8_t*>(data), size);
}

inline Napi::Value from_bytes(Napi::Env env, const Bytes& bytes) { return from_bytes(env, bytes.data(), bytes.size()); }

}  // namespace tandem
