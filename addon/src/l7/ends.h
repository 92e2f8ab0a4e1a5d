// SPDX-License-Identifier: Apache-2.0
// What the policies of both ends of a flow demand, from the same maps by which the programs sent it here: the mirror of look_up_policy
// (bpf/lib/policy.h), but that it tells all groups that ask, as their union applies.
#pragma once

#include <cstdint>
#include <string>

#include "bpf/state.h"
#include "l7/address.h"
#include "l7/rules.h"
#include "l7/tables.h"

namespace tandem::l7 {

class Ends {
 public:
  // bpffs: the node's folder. Throws Failure where the agent has not been.
  explicit Ends(const std::string& bpffs);

  // Another number, other demands may be: the revisions of both ends' policies.
  struct Revision {
    uint32_t egress = 0, ingress = 0;
    bool operator==(const Revision& other) const { return egress == other.egress && ingress == other.ingress; }
  };

  Revision revision(const Address& client, const Address& server) const;

  // protocol: IANA's number.
  Demands demands(const Address& client, const Address& server, uint8_t protocol, const Tables& tables) const;

  // An address of the node itself.
  bool is_of_node(const Address& address) const;

 private:
  Descriptor endpoint_addr_, ipcache4_, ipcache6_, cluster_prefix4_, cluster_prefix6_;
  Descriptor policy_set_, policy_peer_, policy_prefix4_, policy_prefix6_, policy_port_;

  uint32_t identity_of(const Address& address) const;
  End end(bool ingress, const Address& here, const Address& peer, uint8_t protocol, uint16_t port, const Tables& tables) const;
};

}  // namespace tandem::l7
