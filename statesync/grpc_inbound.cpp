#include <statesync/grpc_inbound.hpp>

#include <statesync/codec.hpp>

namespace suture::statesync {
namespace {

class GrpcInbound final : public InboundStream {
 public:
  explicit GrpcInbound(std::shared_ptr<InboundReactor> reactor) : reactor_(std::move(reactor)) {}
  ~GrpcInbound() override { reactor_->close(); }
  void set_handler(Handler handler) override { reactor_->set_handler(std::move(handler)); }
  NodeId identity() const override { return reactor_->identity(); }
  std::string remote() const override { return reactor_->remote(); }
  void send(ToSender message) override { reactor_->send(message); }
  void refuse(Refusal reason, const std::string& text) override { reactor_->refuse(reason, text); }

 private:
  std::shared_ptr<InboundReactor> reactor_;
};

}  // namespace

std::unique_ptr<InboundStream> make_inbound_stream(std::shared_ptr<InboundReactor> reactor) {
  return std::make_unique<GrpcInbound>(std::move(reactor));
}

std::shared_ptr<InboundReactor> InboundReactor::create(std::shared_ptr<Gate> gate, grpc::CallbackServerContext* context,
                                                       NodeId identity) {
  std::shared_ptr<InboundReactor> reactor(new InboundReactor(std::move(gate), context, identity));
  reactor->self_ = reactor;
  reactor->gate_->enter();
  return reactor;
}

InboundReactor::InboundReactor(std::shared_ptr<Gate> gate, grpc::CallbackServerContext* context, NodeId identity)
    : gate_(std::move(gate)), context_(context), identity_(identity), remote_(context->peer()) {}

void InboundReactor::set_handler(InboundStream::Handler handler) {
  handler_ = std::make_shared<InboundStream::Handler>(std::move(handler));
}

void InboundReactor::begin() {
  read();
}

void InboundReactor::read() {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (!closing_ && !finished_) StartRead(&incoming_);
}

void InboundReactor::OnReadDone(bool ok) {
  if (!ok) {
    deliver_closed({Refusal::connect, "stream ended"});
    const auto keep = shared_from_this();
    const std::lock_guard lock(mutex_);
    closing_ = true;
    return proceed();
  }
  auto decoded = decode(incoming_);
  if (decoded) return deliver(std::move(*decoded));
  const std::string text = decoded.error().message;
  refuse(Refusal::bad_message, text);
  deliver_closed({Refusal::bad_message, text});
}

void InboundReactor::deliver(ToReceiver message) {
  gate_->post([self = shared_from_this(), message = std::move(message)]() mutable {
    // A copy: the handler may replace or drop itself.
    const auto handler = self->handler_;
    if (!handler) return;
    handler->on_message(std::move(message));
    self->read();
  });
}

void InboundReactor::deliver_closed(LinkError error) {
  gate_->post([self = shared_from_this(), error = std::move(error)] {
    const auto handler = std::exchange(self->handler_, nullptr);
    if (handler) handler->on_closed(error);
  });
}

void InboundReactor::send(const ToSender& message) {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (closing_ || finished_) return;
  // An acknowledgement covers those before it.
  const std::size_t waiting = outgoing_.size() - (writing_ ? 1 : 0);
  if (std::holds_alternative<Ack>(message) && waiting > 0 && outgoing_.back().has_ack()) outgoing_.pop_back();
  outgoing_.emplace_back();
  encode(message, outgoing_.back());
  proceed();
}

void InboundReactor::refuse(Refusal reason, const std::string& text) {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  send(Refused{reason, text});
  closing_ = true;
  proceed();
}

void InboundReactor::close() {
  handler_.reset();
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (closing_ || finished_) return;  // refused: what was written last may still leave
  closing_ = true;
  outgoing_.resize(writing_ ? 1 : 0);
  proceed();
  // A write that a peer does not take would wait for ever.
  if (!finished_) context_->TryCancel();
}

void InboundReactor::proceed() {
  if (writing_ || finished_) return;
  if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
  } else if (closing_) {
    finished_ = true;
    Finish(grpc::Status::OK);
  }
}

void InboundReactor::OnWriteDone(bool ok) {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  writing_ = false;
  if (!outgoing_.empty()) outgoing_.pop_front();
  if (!ok) {
    outgoing_.clear();
    closing_ = true;
  }
  proceed();
}

void InboundReactor::OnCancel() {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  closing_ = true;
  outgoing_.resize(writing_ ? 1 : 0);
  proceed();
}

void InboundReactor::OnDone() {
  deliver_closed({Refusal::connect, "stream ended"});
  const auto gate = gate_;
  std::shared_ptr<InboundReactor> last;
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    last = std::move(self_);
  }
  last.reset();
  gate->leave();
}

}  // namespace suture::statesync
