#include <statesync/grpc_link.hpp>

#include <chrono>
#include <map>
#include <sstream>
#include <thread>

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <statesync/codec.hpp>
#include <statesync/grpc_gate.hpp>
#include <statesync/grpc_inbound.hpp>
#include <statesync/grpc_outbound.hpp>
#include <statesync/tls_identity.hpp>
#include <suture/log.hpp>

namespace suture::statesync {
namespace {

namespace tls = grpc::experimental;

// A dead connection is noticed within the two together; liveness does not wait for it.
constexpr int kKeepaliveMs = 5000;
constexpr int kKeepaliveTimeoutMs = 3000;
constexpr int kConnectTimeoutMs = 3000;
constexpr std::chrono::milliseconds kShutdownMax{1000};

struct Credentials {
  std::string cert, key, ca;
  std::shared_ptr<const TlsVerifier> verifier;
};

Result<Credentials> load(const GrpcOptions& options) {
  Credentials out;
  for (auto [path, text] : {std::pair(&options.cert_file, &out.cert), std::pair(&options.key_file, &out.key),
                            std::pair(&options.ca_file, &out.ca)}) {
    auto read = read_file(*path);
    if (!read) return read.error();
    *text = std::move(*read);
  }
  auto verifier = TlsVerifier::create(out.ca);
  if (!verifier) return Error{options.ca_file + ": " + verifier.error().message, 0};
  out.verifier = std::move(*verifier);
  return out;
}

std::shared_ptr<tls::StaticDataCertificateProvider> provider_of(const Credentials& credentials) {
  return std::make_shared<tls::StaticDataCertificateProvider>(
      credentials.ca, std::vector{tls::IdentityKeyCertPair{credentials.key, credentials.cert}});
}

// Our check inside the handshake. gRPC's own chain verification is switched off on both sides, because it does not say
// why it fails; this one verifies the same and more (tls_identity).
class HandshakeVerifier final : public tls::ExternalCertificateVerifier {
 public:
  using Check = std::function<std::optional<LinkError>(const std::string& chain_pem)>;
  explicit HandshakeVerifier(Check check) : check_(std::move(check)) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    // On the server's side OpenSSL's chain does not contain the leaf.
    const auto leaf = request->peer_cert(), chain = request->peer_cert_full_chain();
    const auto error = check_(std::string(leaf.data(), leaf.size()) + std::string(chain.data(), chain.size()));
    if (error) *sync_status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, error->text);
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  Check check_;
};

class Service final : public v1::StateSync::CallbackService {
 public:
  Service(std::shared_ptr<Gate> gate, std::shared_ptr<const TlsVerifier> verifier,
          std::function<void(std::shared_ptr<InboundReactor>)> accept)
      : gate_(std::move(gate)), verifier_(std::move(verifier)), accept_(std::move(accept)) {}

  grpc::ServerBidiReactor<v1::ToReceiver, v1::ToSender>* Replicate(grpc::CallbackServerContext* context) override {
    // The handshake has verified it already; here it is asked for the id that it proves.
    std::string pem;
    for (const char* property : {GRPC_X509_PEM_CERT_PROPERTY_NAME, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME}) {
      for (const auto& part : context->auth_context()->FindPropertyValues(property))
        pem.append(part.data(), part.size());
    }
    const auto identity = verifier_->verify(pem, false);
    const auto reactor = InboundReactor::create(gate_, context, identity ? identity->id : NodeId{0});
    if (!identity) {
      reactor->refuse(identity.error().reason, identity.error().text);
    } else {
      gate_->post([this, reactor] { accept_(reactor); });
    }
    return reactor.get();
  }

 private:
  std::shared_ptr<Gate> gate_;
  std::shared_ptr<const TlsVerifier> verifier_;
  std::function<void(std::shared_ptr<InboundReactor>)> accept_;
};

class FailedStream final : public OutboundStream {
 public:
  void send(ToReceiver) override {}
};

class GrpcTransport final : public PeerTransport {
 public:
  GrpcTransport(GrpcOptions options, boost::asio::io_context& io)
      : options_(std::move(options)), gate_(std::make_shared<Gate>(io)) {
    // What gRPC has to say any remote can make it say; what matters of it is in our own lines.
    gpr_set_log_function([](gpr_log_func_args* line) { log::debug("grpc", {{"detail", line->message}}); });
  }
  ~GrpcTransport() override { stop(); }

  Result<void> start(Events events) override;
  std::unique_ptr<OutboundStream> dial(NodeId peer, const boost::asio::ip::tcp::endpoint& address,
                                       OutboundStream::Handler handler) override;
  void stop() override;

 private:
  GrpcOptions options_;
  std::shared_ptr<Gate> gate_;
  Events events_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  // Ours until the end, so that the last reference goes on the control thread. gRPC 1.51's callback threads end with
  // the last channel or server; where one of them lets go of it, it frees its own queue twice (seen by ASan at exit).
  std::map<NodeId, std::shared_ptr<grpc::Channel>> channels_;
  bool stopped_ = false;
};

std::string to_text(const boost::asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream out;
  out << endpoint;
  return out.str();
}

Result<void> GrpcTransport::start(Events events) {
  events_ = std::move(events);
  auto credentials = load(options_);
  if (!credentials) return Error{"statesync: " + credentials.error().message, credentials.error().errno_value};
  // Our own certificate as the peers will see it: better told here than by every peer.
  for (const bool as_server : {true, false}) {
    const auto own = credentials->verifier->verify(credentials->cert, as_server);
    if (!own) return Error{"statesync: " + options_.cert_file + ": " + own.error().text, 0};
    if (own->id != options_.id) {
      return Error{"statesync: " + options_.cert_file + " is the certificate of node " +
                       std::to_string(to_int(own->id)) + ", this is node " + std::to_string(to_int(options_.id)),
                   0};
    }
  }
  const auto verify = [verifier = credentials->verifier, gate = gate_, this](const std::string& pem) {
    const auto identity = verifier->verify(pem, false);
    if (identity) return std::optional<LinkError>();
    gate->post([this, error = identity.error()] { events_.on_refused("", error); });
    return std::optional<LinkError>(identity.error());
  };
  tls::TlsServerCredentialsOptions tls_options(provider_of(*credentials));
  tls_options.watch_root_certs();
  tls_options.watch_identity_key_cert_pairs();
  tls_options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_BUT_DONT_VERIFY);
  tls_options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<HandshakeVerifier>(verify));

  service_ =
      std::make_unique<Service>(gate_, credentials->verifier, [this](const std::shared_ptr<InboundReactor>& reactor) {
        events_.on_inbound(make_inbound_stream(reactor));
        reactor->begin();
      });
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort(to_text(options_.listen), tls::TlsServerCredentials(tls_options), &bound);
  builder.RegisterService(service_.get());
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetResourceQuota(grpc::ResourceQuota("statesync").Resize(256U << 20).SetMaxThreads(16));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second process must be told that the port is taken
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 2);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kConnectTimeoutMs);
  server_ = builder.BuildAndStart();
  if (!server_ || bound == 0) {
    server_.reset();
    return Error{"statesync: cannot listen on " + to_text(options_.listen) +
                     " (port in use, not an address of this host, or key and certificate do not match)",
                 0};
  }
  return {};
}

std::unique_ptr<OutboundStream> GrpcTransport::dial(NodeId peer, const boost::asio::ip::tcp::endpoint& address,
                                                    OutboundStream::Handler handler) {
  auto credentials = load(options_);
  if (!credentials) {
    gate_->post([handler = std::move(handler), text = credentials.error().message] {
      handler.on_closed({Refusal::bad_certificate, text});
    });
    return std::make_unique<FailedStream>();
  }
  const auto verdict = std::make_shared<Verdict>();
  const auto verify = [verifier = credentials->verifier, verdict, peer](const std::string& pem) {
    std::optional<LinkError> error;
    const auto identity = verifier->verify(pem, true);
    if (!identity) {
      error = identity.error();
    } else if (identity->id != peer) {
      error = LinkError{Refusal::wrong_certificate,
                        "dialed node " + std::to_string(to_int(peer)) + ", but the certificate is that of node " +
                            std::to_string(to_int(identity->id)) + " (" + identity->name + ")"};
    }
    const std::lock_guard lock(verdict->mutex);
    verdict->error = error;
    verdict->asked = true;
    return error;
  };
  tls::TlsChannelCredentialsOptions tls_options;
  tls_options.set_certificate_provider(provider_of(*credentials));
  tls_options.watch_root_certs();
  tls_options.watch_identity_key_cert_pairs();
  tls_options.set_verify_server_certs(false);
  tls_options.set_check_call_host(false);
  tls_options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<HandshakeVerifier>(verify));

  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a new connection, with the files as they are now
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A name that `suture pki` puts into every certificate; identity is the URI, this one only spares the server a
  // complaint.
  arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, "suture-node-" + std::to_string(to_int(peer)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  const std::string target = (address.address().is_v6() ? "ipv6:" : "ipv4:") + to_text(address);
  auto channel = grpc::CreateCustomChannel(target, tls::TlsCredentials(tls_options), arguments);
  auto reactor = OutboundReactor::create(gate_, channel, verdict, std::move(handler));
  reactor->begin();
  channels_[peer] = std::move(channel);
  return make_outbound_stream(std::move(reactor));
}

void GrpcTransport::stop() {
  if (std::exchange(stopped_, true)) return;
  gate_->close();
  if (server_) server_->Shutdown(std::chrono::system_clock::now() + kShutdownMax);
  if (!gate_->wait_idle(5 * kShutdownMax)) log::warn("statesync_shutdown_slow");
  server_.reset();
  service_.reset();
}

}  // namespace

std::unique_ptr<PeerTransport> make_grpc_transport(GrpcOptions options, boost::asio::io_context& io) {
  return std::make_unique<GrpcTransport>(std::move(options), io);
}

bool grpc_ended(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (grpc_is_initialized() != 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

}  // namespace suture::statesync
