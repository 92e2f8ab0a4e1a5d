// For json-reader.test.ts: reads documents (4 bytes of length, little endian, then the text) and writes, for each, the problem or "",
// then kind and text of each wanted member, every text behind 4 bytes of length.
#include <cstdint>
#include <cstdio>
#include <string>

#include "json_reader.h"

namespace {

void write_text(const std::string &text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  std::fwrite(&size, sizeof(size), 1, stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

int main() {
  std::uint32_t size = 0;
  while (std::fread(&size, sizeof(size), 1, stdin) == 1) {
    std::string text(size, '\0');
    if (std::fread(&text[0], 1, size, stdin) != size) return 1;
    tandem::Member members[] = {{"cniVersion"}, {"socket"}, {"a"}, {""}, {"\xc3\xa9\xf0\x9f\x98\x80"}};
    write_text(tandem::read_members(text, members, 5));
    for (const auto &member : members) {
      std::fputc(static_cast<int>(member.kind), stdout);
      write_text(member.text);
    }
  }
}
