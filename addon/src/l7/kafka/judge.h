// SPDX-License-Identifier: Apache-2.0
// What the rules of one end say about a request of Kafka, as Cilium reads them.
#pragma once

#include <optional>
#include <vector>

#include "l7/kafka/message.h"
#include "l7/rules.h"

namespace tandem::l7::kafka {

// Null: not looked for yet. None inside: they cannot be read, so that no rule which names a topic allows the request.
using Topics = const std::optional<std::vector<Topic>>*;

// rules: gets RuleSet::id of what allowed it, unless another end's is there.
bool is_allowed(const End& end, const RequestHead& head, Topics topics, uint32_t& rules);

// Some rule of either end names a topic.
bool names_topics(const Demands& demands);

}  // namespace tandem::l7::kafka
