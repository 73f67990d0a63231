// A stream that we dialed, on gRPC's callback API. Internal to the gRPC link; see grpc_inbound.hpp for the locking.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <grpcpp/grpcpp.h>

#include <proto/statesync.grpc.pb.h>
#include <statesync/grpc_gate.hpp>
#include <statesync/peer_link.hpp>

namespace suture::statesync {

// What our own check of the server's certificate said: more exact than gRPC's status.
struct Verdict {
  std::mutex mutex;
  std::optional<LinkError> error;
  bool asked = false;  // the handshake came as far as the peer's certificate
};

class OutboundReactor final : public grpc::ClientBidiReactor<v1::ToReceiver, v1::ToSender>,
                              public std::enable_shared_from_this<OutboundReactor> {
 public:
  static std::shared_ptr<OutboundReactor> create(std::shared_ptr<Gate> gate,
                                                 const std::shared_ptr<grpc::Channel>& channel,
                                                 std::shared_ptr<Verdict> verdict, OutboundStream::Handler handler);
  // Control thread.
  void begin();
  void send(const ToReceiver& message);
  bool all_written();
  void close();

  // gRPC's threads.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  OutboundReactor(std::shared_ptr<Gate> gate, const std::shared_ptr<grpc::Channel>& channel,
                  std::shared_ptr<Verdict> verdict, OutboundStream::Handler handler);
  void read();
  void proceed();
  void release();  // no operation of ours from here on; mutex held

  const std::shared_ptr<Gate> gate_;
  const std::shared_ptr<Verdict> verdict_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::StateSync::Stub> stub_;

  std::recursive_mutex mutex_;
  std::shared_ptr<OutboundReactor> self_;
  v1::ToSender incoming_;
  std::deque<v1::ToReceiver> outgoing_;
  bool all_given() const;
  bool writing_ = false, released_ = false;
  bool large_ = false;              // what is under way may wait for the peer's window
  bool asked_ = false;              // whoever saw that messages wait is told when none does
  std::optional<LinkError> error_;  // found by us, before gRPC's status

  std::shared_ptr<OutboundStream::Handler> handler_;  // control thread only
};

std::unique_ptr<OutboundStream> make_outbound_stream(std::shared_ptr<OutboundReactor> reactor);

}  // namespace suture::statesync
