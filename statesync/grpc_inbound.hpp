// A stream that a peer dialed, on gRPC's callback API. Internal to the gRPC link.
//
// The reactor lives until its OnDone, whoever drops the InboundStream before. gRPC may run a reaction inside the call
// that starts an operation, on the same thread: hence the recursive mutex, and state that is set before the call.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include <grpcpp/grpcpp.h>

#include <proto/statesync.grpc.pb.h>
#include <statesync/grpc_gate.hpp>
#include <statesync/peer_link.hpp>

namespace suture::statesync {

class InboundReactor final : public grpc::ServerBidiReactor<v1::ToReceiver, v1::ToSender>,
                             public std::enable_shared_from_this<InboundReactor> {
 public:
  static std::shared_ptr<InboundReactor> create(std::shared_ptr<Gate> gate, grpc::CallbackServerContext* context,
                                                NodeId identity);

  // Control thread.
  void set_handler(InboundStream::Handler handler);
  void begin();  // start reading; the handler is set
  void send(const ToSender& message);
  void refuse(Refusal reason, const std::string& text);
  void close();
  NodeId identity() const { return identity_; }
  const std::string& remote() const { return remote_; }

  // gRPC's threads.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  InboundReactor(std::shared_ptr<Gate> gate, grpc::CallbackServerContext* context, NodeId identity);
  void read();
  void proceed();  // write what waits, or finish; mutex held
  void deliver(ToReceiver message);
  void deliver_closed(LinkError error);

  const std::shared_ptr<Gate> gate_;
  grpc::CallbackServerContext* const context_;
  const NodeId identity_;
  const std::string remote_;

  std::recursive_mutex mutex_;
  std::shared_ptr<InboundReactor> self_;  // until OnDone
  v1::ToReceiver incoming_;
  std::deque<v1::ToSender> outgoing_;  // the front one is being written while writing_
  bool writing_ = false, closing_ = false, finished_ = false;

  std::shared_ptr<InboundStream::Handler> handler_;  // control thread only; null: closed
};

std::unique_ptr<InboundStream> make_inbound_stream(std::shared_ptr<InboundReactor> reactor);

}  // namespace suture::statesync
