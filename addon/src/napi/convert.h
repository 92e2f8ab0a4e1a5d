// SPDX-License-Identifier: Apache-2.0
// Plain data across the boundary. JavaScript has checked and explained arguments; here only types are checked.
#pragma once

#include <napi.h>

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

// null and undefined are "not set": the empty string.
inline std::string to_optional_string(const Napi::Value& value, const char* what) {
  return value.IsNull() || value.IsUndefined() ? "" : to_string(value, what);
}

inline uint32_t to_u32(const Napi::Value& value, const char* what) {
  if (!value.IsNumber()) bad_argument(std::string(what) + " must be a number");
  return value.As<Napi::Number>().Uint32Value();
}

inline bool to_bool(const Napi::Value& value, const char* what) {
  if (!value.IsBoolean()) bad_argument(std::string(what) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

inline Bytes to_bytes(const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray()) bad_argument(std::string(what) + " must be a Buffer or Uint8Array");
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
