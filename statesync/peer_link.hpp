// The only door from the service to the network of streams. Implemented on gRPC (grpc_link) and in memory (tests).
// Every call and every callback is on the control thread. No callback is made from inside a call (implementations
// post), and none after close() of the stream or stop() of the transport.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/ip/tcp.hpp>

#include <statesync/messages.hpp>
#include <suture/result.hpp>

namespace suture::statesync {

struct LinkError {
  Refusal reason = Refusal::connect;
  std::string text;       // what an operator needs to see
  bool answered = false;  // of `connect`, to the dialer: the peer was there and showed its certificate
};

// A stream that we dialed: our records go out, acknowledgements come back. Dropping it closes it.
class OutboundStream {
 public:
  struct Handler {
    std::function<void(ToSender&&)> on_message;
    std::function<void(const LinkError&)> on_closed;  // at most once, last
    std::function<void()> on_written = [] {};         // all_written() became true; perhaps it is false again
  };
  virtual ~OutboundStream() = default;
  // Queued by the link. Bounded by the caller: the replicator's window, and heartbeats only while nothing else waits.
  virtual void send(ToReceiver message) = 0;
  // Of what was given to send() nothing waits for an earlier message to be written.
  virtual bool all_written() const { return true; }
};

// A stream that a peer dialed. Dropping it closes it.
class InboundStream {
 public:
  struct Handler {
    std::function<void(ToReceiver&&)> on_message;  // the next one is read after this returns
    std::function<void(const LinkError&)> on_closed;
  };
  virtual ~InboundStream() = default;
  virtual void set_handler(Handler handler) = 0;  // inside PeerTransport::Acceptor
  virtual NodeId identity() const = 0;            // proven by its certificate
  virtual std::string remote() const = 0;         // address, for logs
  virtual void send(ToSender message) = 0;        // an Ack replaces one that still waits
  // Sends Refused and closes once it has left.
  virtual void refuse(Refusal reason, const std::string& text) = 0;
};

class PeerTransport {
 public:
  struct Events {
    std::function<void(std::unique_ptr<InboundStream>)> on_inbound;
    // A connection that did not become a stream: bad certificate and the like. `remote` may be empty.
    std::function<void(const std::string& remote, const LinkError&)> on_refused;
  };
  virtual ~PeerTransport() = default;
  virtual Result<void> start(Events events) = 0;
  // Begins to connect; messages sent meanwhile wait.
  virtual std::unique_ptr<OutboundStream> dial(NodeId peer, const boost::asio::ip::tcp::endpoint& address,
                                               OutboundStream::Handler handler) = 0;
  // Closes everything and joins. Streams may be dropped afterwards.
  virtual void stop() = 0;
};

}  // namespace suture::statesync
