// SPDX-License-Identifier: Apache-2.0
#include "l7/kafka/protocol.h"

#include <algorithm>
#include <iterator>

namespace tandem::l7::kafka {
namespace {

// From the next versions on, most of these name topics by ids (KIP-516), which no rule can.
constexpr Layout requests[] = {
    {0, 0, 12, "s3 h i [ T [ P b ] ]"},
    {1, 0, 12, "i i i i3 c4 i7 i7 [ T [ P i9 l i12 l5 i ] ] [7 s ( i ) ] s11"},
    {2, 0, 9, "i c2 [ T [ P i4 l i0-0 ] ]"},
    {3, 0, 12, "[ u10 T ] c4 c8-10 c8"},
    {8, 0, 9, "s i1 s1 s7 l2-4 [ T [ P l i6 l1-1 s ] ]"},
    {9, 0, 7, "s [ T ( P ) ] c7"},
    {9, 8, 9, "[ s s9 i9 [ T ( P ) ] ] c"},
    {19, 0, 7, "[ T i h [ i ( i ) ] [ s s ] ] i c1"},
    {20, 0, 5, "( T ) i"},
    {21, 0, 2, "[ T [ P l ] ] i"},
    {23, 0, 4, "i3 [ T [ P i2 i ] ]"},
    {24, 0, 3, "s l h [ T ( P ) ]"},
    {24, 4, 5, "[ s l h c [ T ( P ) ] ]"},
    {28, 0, 4, "s s l h i3 s3 s3 [ T [ P l i2 s ] ]"},
};

constexpr Layout answers[] = {
    {0, 0, 12, "{ T < P E l=-1 l2=-1 l5=-1 a8 n8 > } i1"},
    {1, 0, 12, "i1 h7 i7 { T < P E l=-1 l4=-1 l5=-1 N4 i11=-1 b > }"},
    {2, 0, 9, "i2 { T < P E a0-0 l1=-1 l1=-1 i4=-1 > }"},
    {3, 0, 12, "i3 a n2 i1=-1 { E T u10 c1 a i8=-2147483648 } i8-10=-2147483648"},
    {8, 0, 9, "i3 { T < P E > }"},
    {9, 0, 7, "i3 { T < P l=-1 i5=-1 n E > } h2"},
    {10, 0, 3, "i1 E n1 i=-1 e i=-1"},
    {11, 0, 9, "i2 E i=-1 n7 e e c9 e a"},
    {12, 0, 4, "i1 E"},
    {13, 0, 5, "i1 E a3"},
    {14, 0, 5, "i1 E n5 n5 b"},
    {16, 0, 4, "i1 E a"},
    {17, 0, 1, "E a"},
    {18, 0, 3, "E a i1"},
    {19, 0, 7, "i2 { T u7 E n1 i5=-1 h5=-1 N5 }"},
    {20, 0, 5, "i1 { T E n5 }"},
    {21, 0, 2, "i { T < P l=-1 E > }"},
    {22, 0, 4, "i E l=-1 h=-1"},
    {23, 0, 4, "i2 { T < E P i1=-1 l=-1 > }"},
    {24, 0, 3, "i { T < P E > }"},
    {25, 0, 3, "i E"},
    {26, 0, 3, "i E"},
    {28, 0, 4, "i { T < P E > }"},
};

// By API key, up to alterConfigs; -1: never.
constexpr int16_t first_flexible[] = {9, 12, 6, 9, 4, 2, 6, 3, 8, 6, 3, 6, 4, 4, 4, 5, 3, -1, 3, 5, 4, 2, 2, 4, 3, 3, 3, 1, 3, 2, 2, 2, 4, 2};

// Leader and replica state, transaction markers, log directories and new partitions are about topics, too, and are not read.
constexpr int16_t unread[] = {4, 5, 6, 27, 34, 35, 37};
// What came later than those that policies can name; some of it is about topics.
constexpr int16_t last_known = 37;

template <size_t size>
const Layout* find(const Layout (&layouts)[size], int16_t key, int16_t version) {
  const auto found = std::find_if(std::begin(layouts), std::end(layouts), [&](const Layout& layout) {
    return layout.key == key && version >= layout.first && version <= layout.last;
  });
  return found == std::end(layouts) ? nullptr : found;
}

}  // namespace

const Layout* request_layout(int16_t key, int16_t version) { return find(requests, key, version); }

const Layout* answer_layout(int16_t key, int16_t version) { return find(answers, key, version); }

bool is_about_topics(int16_t key) {
  if (key > last_known) return true;
  const bool is_read = std::any_of(std::begin(requests), std::end(requests), [&](const Layout& layout) { return layout.key == key; });
  return is_read || std::find(std::begin(unread), std::end(unread), key) != std::end(unread);
}

bool is_flexible(int16_t key, int16_t version) {
  if (key < 0 || key >= static_cast<int16_t>(std::size(first_flexible))) return true;
  return first_flexible[key] >= 0 && version >= first_flexible[key];
}

int16_t last_readable(int16_t key) {
  int16_t last = -1;
  for (const Layout& layout : requests) {
    if (layout.key != key) continue;
    if (const Layout* answer = answer_layout(key, layout.first)) last = std::max(last, std::min(layout.last, answer->last));
  }
  return last;
}

}  // namespace tandem::l7::kafka
