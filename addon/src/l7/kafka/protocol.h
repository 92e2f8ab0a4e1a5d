// SPDX-License-Identifier: Apache-2.0
// What is known of Kafka's requests (https://kafka.apache.org/protocol): which are about topics, where those stand, and how an error is told.
#pragma once

#include <cstdint>

namespace tandem::l7::kafka {

// API keys that are looked at by name.
enum Key : int16_t { produce = 0, controlled_shutdown = 7, api_versions = 18 };

// Layouts are words with spaces between: fields in the order of the wire.
//   c h i l u   8, 16, 32 and 64 bits, 16 bytes
//   s b         a string, bytes; both may be null
//   T P         a topic's name, a partition's number
//   [ ... ]     an array of structs;  ( ... ) of single values
// Of an answer, besides:
//   E           the error (16 bits)
//   { ... }     for each topic of the request;  < ... > for each partition of that topic
//   n e N a     null and empty: strings, arrays (bytes as strings)
// A number at once behind a word is the first version that has it, "3-5" the first and the last; "=-1" the value (else 0).
struct Layout {
  int16_t key;
  int16_t first, last;  // versions
  const char* words;
};

// Of requests that are about topics by name; null: of that version, nothing is known.
const Layout* request_layout(int16_t key, int16_t version);

// Of answers that tell an error; null: there is none that a client would take for one.
const Layout* answer_layout(int16_t key, int16_t version);

// Topics are what this request is about, whether they can be read or not.
bool is_about_topics(int16_t key);

// Sizes are of variable length and structs end with tagged fields (KIP-482).
bool is_flexible(int16_t key, int16_t version);

// The last version whose topics are read by name and whose denial can be told; -1: the request is not about topics, or never readable.
int16_t last_readable(int16_t key);

}  // namespace tandem::l7::kafka
