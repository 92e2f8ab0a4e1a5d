// SPDX-License-Identifier: Apache-2.0
// What is around the engine: who demands what of a flow, and how its server is reached. On a node that is the kernel; in tests and benchmarks, one
// server and one set of rules.
#pragma once

#include <memory>
#include <string>

#include "l7/ends.h"
#include "l7/tables.h"
#include "l7/transparent.h"

namespace tandem::l7 {

class Network {
 public:
  virtual ~Network() = default;
  virtual Ends::Revision revision(const Address& client, const Address& server) const = 0;
  // protocol: IANA's number.
  virtual Demands demands(const Address& client, const Address& server, uint8_t protocol, const Tables& tables) const = 0;
  // Non-blocking. Throws Failure.
  virtual Descriptor connect(const Address& client, const Address& server) const = 0;
  virtual Descriptor listen(int family) const = 0;
  // Where a connection that was accepted with this local address wanted to go.
  virtual Address destination(const Address& local) const = 0;
};

class KernelNetwork : public Network {
 public:
  explicit KernelNetwork(const std::string& bpffs) : ends_(bpffs) {}

  Ends::Revision revision(const Address& client, const Address& server) const override { return ends_.revision(client, server); }
  Demands demands(const Address& client, const Address& server, uint8_t protocol, const Tables& tables) const override {
    return ends_.demands(client, server, protocol, tables);
  }
  Descriptor connect(const Address& client, const Address& server) const override {
    return ends_.is_of_node(server) ? connect_to_node(client, server) : connect_transparent(client, server, SOCK_STREAM);
  }
  Descriptor listen(int family) const override { return listen_transparent(family); }
  Address destination(const Address& local) const override { return local; }

 private:
  const Ends ends_;
};

// Every flow goes to `server`, and all rule sets of policy set 1 are asked.
class FixedNetwork : public Network {
 public:
  FixedNetwork(Address listen, Address server) : listen_(listen), server_(server) {}

  Ends::Revision revision(const Address&, const Address&) const override { return {}; }
  Demands demands(const Address& client, const Address& server, uint8_t protocol, const Tables& tables) const override;
  Descriptor connect(const Address& client, const Address& server) const override;
  Descriptor listen(int family) const override;
  Address destination(const Address&) const override { return server_; }

 private:
  const Address listen_, server_;
};

}  // namespace tandem::l7
