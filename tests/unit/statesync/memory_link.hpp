// PeerTransport in memory: the services of one process talk to each other through posted values. Links can be cut.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <utility>

#include <boost/asio/io_context.hpp>

#include <statesync/peer_link.hpp>

namespace suture::statesync::test {

struct MemoryPipe;

class MemoryNetwork {
 public:
  explicit MemoryNetwork(boost::asio::io_context& context) : io(context) {}
  std::unique_ptr<PeerTransport> transport(NodeId identity);
  void cut(NodeId from, NodeId to);  // closes the stream and refuses new ones
  void mend(NodeId from, NodeId to) { cuts.erase({to_int(from), to_int(to)}); }

  boost::asio::io_context& io;

  std::map<NodeId, bool> mute;                         // what such a node says on streams that others dialed is lost
  std::map<NodeId, PeerTransport::Events*> listeners;  // the last to start under an id
  std::set<std::pair<unsigned, unsigned>> cuts;
  std::map<std::pair<unsigned, unsigned>, std::weak_ptr<MemoryPipe>> pipes;
};

}  // namespace suture::statesync::test
