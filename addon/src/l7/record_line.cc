// SPDX-License-Identifier: Apache-2.0
#include "l7/record_line.h"

#include <ctime>

#include "l7/json.h"

namespace tandem::l7 {
namespace {

const char* word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::forwarded:
      return "forwarded";
    case Verdict::denied:
      return "denied";
    case Verdict::refused:
      return "refused";
    case Verdict::redirected:
      return "redirected";
    case Verdict::failed:
      return "failed";
  }
  return "refused";
}

void append_place(std::string& out, const char* name, const Address& address, const End& end) {
  out.append(",\"").append(name).append("\":{\"address\":\"").append(address.text());
  out.append("\",\"port\":").append(std::to_string(address.port));
  out.append(",\"identity\":").append(std::to_string(end.identity));
  out.append(",\"endpoint\":").append(std::to_string(end.endpoint)).append("}");
}

// Whose rules did not allow it.
void append_asked(std::string& out, const End& end) {
  out.append(",\"asked\":[");
  for (size_t at = 0; at < end.any_of.size(); at++) out.append(at == 0 ? "" : ",").append(std::to_string(end.any_of[at]->id));
  out.append("]");
}

}  // namespace

void append_record(std::string& out, const Address& client, const Address& server, const Demands& demands, const Record& record) {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  const uint64_t wall = static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1'000'000;
  out.append("{\"time\":").append(std::to_string(wall)).append(",\"protocol\":\"").append(record.protocol);
  out.append("\",\"verdict\":\"").append(word_of(record.verdict)).append("\",\"direction\":");
  out.append(record.verdict != Verdict::denied ? "null" : record.ingress ? "\"ingress\"" : "\"egress\"");
  out.append(",\"reason\":");
  if (record.reason.empty()) out.append("null");
  else append_json(out, record.reason);
  append_place(out, "source", client, demands.egress);
  append_place(out, "destination", server, demands.ingress);
  out.append(",\"ruleSet\":").append(std::to_string(record.rules));
  if (record.verdict == Verdict::denied) append_asked(out, record.ingress ? demands.ingress : demands.egress);
  out.append(",\"latency\":");
  out.append(record.answered >= record.begun && record.answered != 0 ? std::to_string((record.answered - record.begun) / 1000) : "null");
  if (!record.detail.empty()) out.append(",").append(record.detail);
  out.append("}\n");
}

}  // namespace tandem::l7
