// SPDX-License-Identifier: Apache-2.0
// How anything in the addon fails: errno, the operation in an operator's words, the object it was done to, and the text that
// a verifier or netlink gave. One place turns it into a JavaScript error.
#pragma once

#include <napi.h>

#include <stdexcept>
#include <string>

namespace tandem {

struct Failure : std::runtime_error {
  // error: errno, positive. log may be empty.
  Failure(int error, std::string operation, std::string object, std::string log = "");

  int error;
  std::string operation;
  std::string object;
  std::string log;
};

// "EBUSY" for EBUSY; "E<number>" for one without a name.
std::string errno_name(int error);

Napi::Error to_javascript(Napi::Env env, const Failure& failure);

}  // namespace tandem
