#include <statesync/grpc_outbound.hpp>

#include <statesync/codec.hpp>

namespace suture::statesync {
namespace {

class GrpcOutbound final : public OutboundStream {
 public:
  explicit GrpcOutbound(std::shared_ptr<OutboundReactor> reactor) : reactor_(std::move(reactor)) {}
  ~GrpcOutbound() override { reactor_->close(); }
  void send(ToReceiver message) override { reactor_->send(message); }
  bool all_written() const override { return reactor_->all_written(); }

 private:
  std::shared_ptr<OutboundReactor> reactor_;
};

// gRPC's messages quote their whole history.
constexpr std::size_t kDetailBytesMax = 400;
// Of one message: half of HTTP/2's initial window (RFC 9113 section 6.9.2).
constexpr std::size_t kLargeBytes = 32 * 1024;

}  // namespace

std::unique_ptr<OutboundStream> make_outbound_stream(std::shared_ptr<OutboundReactor> reactor) {
  return std::make_unique<GrpcOutbound>(std::move(reactor));
}

std::shared_ptr<OutboundReactor> OutboundReactor::create(std::shared_ptr<Gate> gate,
                                                         const std::shared_ptr<grpc::Channel>& channel,
                                                         std::shared_ptr<Verdict> verdict,
                                                         OutboundStream::Handler handler) {
  std::shared_ptr<OutboundReactor> reactor(
      new OutboundReactor(std::move(gate), channel, std::move(verdict), std::move(handler)));
  reactor->self_ = reactor;
  reactor->gate_->enter();
  return reactor;
}

OutboundReactor::OutboundReactor(std::shared_ptr<Gate> gate, const std::shared_ptr<grpc::Channel>& channel,
                                 std::shared_ptr<Verdict> verdict, OutboundStream::Handler handler)
    : gate_(std::move(gate)),
      verdict_(std::move(verdict)),
      stub_(v1::StateSync::NewStub(channel)),
      handler_(std::make_shared<OutboundStream::Handler>(std::move(handler))) {}

void OutboundReactor::begin() {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  stub_->async()->Replicate(&context_, this);
  // We write from the control thread, outside of reactions: OnDone must wait for release().
  AddHold();
  StartRead(&incoming_);
  StartCall();
}

void OutboundReactor::read() {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (!released_) StartRead(&incoming_);
}

void OutboundReactor::send(const ToReceiver& message) {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (released_) return;
  outgoing_.emplace_back();
  encode(message, outgoing_.back());
  proceed();
}

// gRPC writes in StartWrite: what is under way has been given to the kernel, or is about to be.
bool OutboundReactor::all_written() {
  const std::lock_guard lock(mutex_);
  asked_ = !all_given();
  return !asked_;
}

bool OutboundReactor::all_given() const {
  return outgoing_.size() <= (large_ ? 0 : 1);
}

void OutboundReactor::proceed() {
  if (writing_ || released_ || outgoing_.empty()) return;
  writing_ = true;
  large_ = outgoing_.front().ByteSizeLong() > kLargeBytes;
  StartWrite(&outgoing_.front());
}

void OutboundReactor::release() {
  if (released_) return;
  released_ = true;
  context_.TryCancel();
  RemoveHold();
}

void OutboundReactor::close() {
  handler_.reset();
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  release();
}

void OutboundReactor::OnWriteDone(bool ok) {
  const auto keep = shared_from_this();
  const std::lock_guard lock(mutex_);
  writing_ = false;
  outgoing_.pop_front();
  // After a failed write the status comes by the read, which may still bring the peer's reason before.
  if (ok) proceed();
  if (!asked_ || !all_given()) return;
  asked_ = false;
  gate_->post([self = keep] {
    if (const auto handler = self->handler_) handler->on_written();
  });
}

void OutboundReactor::OnReadDone(bool ok) {
  const auto keep = shared_from_this();
  if (!ok) {
    const std::lock_guard lock(mutex_);
    if (released_) return;
    released_ = true;  // without cancelling: the status is on its way
    return RemoveHold();
  }
  auto decoded = decode(incoming_);
  if (!decoded) {
    const std::lock_guard lock(mutex_);
    error_ = LinkError{Refusal::bad_message, decoded.error().message};
    return release();
  }
  gate_->post([self = keep, message = std::move(*decoded)]() mutable {
    const auto handler = self->handler_;
    if (!handler) return;
    handler->on_message(std::move(message));
    self->read();
  });
}

void OutboundReactor::OnDone(const grpc::Status& status) {
  LinkError error{Refusal::connect, status.error_message().substr(0, kDetailBytesMax)};
  if (error.text.empty()) error.text = status.ok() ? "closed by the peer" : "connection lost";
  std::shared_ptr<OutboundReactor> last;
  {
    const std::lock_guard lock(verdict_->mutex);
    error.answered = verdict_->asked;
    if (verdict_->error) error = *verdict_->error;
  }
  {
    const std::lock_guard lock(mutex_);
    if (error_) error = *error_;
    last = std::move(self_);
  }
  gate_->post([last, error = std::move(error)] {
    const auto handler = std::exchange(last->handler_, nullptr);
    if (handler) handler->on_closed(error);
  });
  const auto gate = gate_;
  last.reset();
  gate->leave();
}

}  // namespace suture::statesync
