#include "memory_link.hpp"

#include <boost/asio/post.hpp>

namespace suture::statesync::test {

// One stream; both ends hold it. A null handler: that end is closed.
struct MemoryPipe {
  boost::asio::io_context& io;
  NodeId dialer{};
  std::shared_ptr<OutboundStream::Handler> out;
  std::shared_ptr<InboundStream::Handler> in;
};

namespace {

using Pipe = std::shared_ptr<MemoryPipe>;

void close_out(const Pipe& pipe) {
  boost::asio::post(pipe->io, [pipe] {
    const auto handler = std::exchange(pipe->out, nullptr);
    if (handler) handler->on_closed({Refusal::connect, "cut"});
  });
}
void close_in(const Pipe& pipe) {
  boost::asio::post(pipe->io, [pipe] {
    const auto handler = std::exchange(pipe->in, nullptr);
    if (handler) handler->on_closed({Refusal::connect, "cut"});
  });
}

struct MemoryInbound final : InboundStream {
  MemoryInbound(Pipe p, const bool& m) : pipe(std::move(p)), mute(m) {}
  ~MemoryInbound() override {
    pipe->in.reset();
    close_out(pipe);
  }
  void set_handler(Handler handler) override { pipe->in = std::make_shared<Handler>(std::move(handler)); }
  NodeId identity() const override { return pipe->dialer; }
  std::string remote() const override { return "memory"; }
  void send(ToSender message) override {
    if (mute) return;
    boost::asio::post(pipe->io, [p = pipe, message = std::move(message)]() mutable {
      const auto handler = p->out;
      if (handler) handler->on_message(std::move(message));
    });
  }
  void refuse(Refusal reason, const std::string& text) override { send(Refused{reason, text}); }
  Pipe pipe;
  const bool& mute;
};

struct MemoryOutbound final : OutboundStream {
  explicit MemoryOutbound(Pipe p) : pipe(std::move(p)) {}
  ~MemoryOutbound() override {
    pipe->out.reset();
    close_in(pipe);
  }
  void send(ToReceiver message) override {
    boost::asio::post(pipe->io, [p = pipe, message = std::move(message)]() mutable {
      const auto handler = p->in;
      if (handler) handler->on_message(std::move(message));
    });
  }
  Pipe pipe;
};

class MemoryTransport final : public PeerTransport {
 public:
  MemoryTransport(MemoryNetwork& network, NodeId id) : network_(network), id_(id) {}
  ~MemoryTransport() override { stop(); }

  Result<void> start(Events events) override {
    events_ = std::move(events);
    network_.listeners[id_] = &events_;
    return {};
  }
  std::unique_ptr<OutboundStream> dial(NodeId peer, const boost::asio::ip::tcp::endpoint&,
                                       OutboundStream::Handler handler) override {
    auto pipe = std::make_shared<MemoryPipe>(MemoryPipe{network_.io, id_, nullptr, nullptr});
    pipe->out = std::make_shared<OutboundStream::Handler>(std::move(handler));
    const auto listener = network_.listeners.find(peer);
    const std::pair ends(to_int(id_), to_int(peer));
    if (listener == network_.listeners.end() || network_.cuts.contains(ends)) {
      close_out(pipe);
    } else {
      network_.pipes[ends] = pipe;
      boost::asio::post(network_.io, [pipe, peer, &network = network_] {
        const auto there = network.listeners.find(peer);
        if (there != network.listeners.end())
          there->second->on_inbound(std::make_unique<MemoryInbound>(pipe, network.mute[peer]));
      });
    }
    return std::make_unique<MemoryOutbound>(pipe);
  }
  void stop() override {
    const auto it = network_.listeners.find(id_);
    if (it != network_.listeners.end() && it->second == &events_) network_.listeners.erase(it);
  }

 private:
  MemoryNetwork& network_;
  NodeId id_;
  Events events_;
};

}  // namespace

std::unique_ptr<PeerTransport> MemoryNetwork::transport(NodeId identity) {
  return std::make_unique<MemoryTransport>(*this, identity);
}

void MemoryNetwork::cut(NodeId from, NodeId to) {
  cuts.insert({to_int(from), to_int(to)});
  if (const auto pipe = pipes[{to_int(from), to_int(to)}].lock()) {
    close_out(pipe);
    close_in(pipe);
  }
}

}  // namespace suture::statesync::test
