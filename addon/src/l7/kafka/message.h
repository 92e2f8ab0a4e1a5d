// SPDX-License-Identifier: Apache-2.0
// Messages of Kafka: the heads of requests, the topics in them, and answers of our own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::l7::kafka {

struct Topic {
  std::string name;
  std::vector<int32_t> partitions;
};

struct RequestHead {
  int16_t key = 0, version = 0;
  int32_t correlation = 0;
  std::string client;  // empty: none, or null
  size_t body = 0;     // where it begins, from the size on
  bool answered = true;  // not: a produce request that wants no acknowledgement
};

enum class Read : uint8_t { whole, more, refused };

// frame: bytes from a request's size (4 bytes, big-endian) on, perhaps not all. As far as the fields above stand.
Read read_head(std::string_view frame, RequestHead& out);

// frame: a whole request. None: it cannot be read to its end, by what is known of this version, or names a topic by its id.
std::optional<std::vector<Topic>> read_topics(std::string_view frame, const RequestHead& head);

// TOPIC_AUTHORIZATION_FAILED.
constexpr int16_t denied = 29;

// With its size; empty: this version's denial cannot be told.
std::string denial(const RequestHead& head, const std::vector<Topic>& topics);

// answer: a whole one to ApiVersions of that version, with its size. Versions whose topics could not be read are taken off what the server
// offers, in place. What cannot be read stays as it is.
void limit_versions(std::string& answer, int16_t version);

}  // namespace tandem::l7::kafka
