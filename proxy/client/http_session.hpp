// Mode http: an HTTP/1.1 reverse proxy for one client connection. This file and its sources (http_session,
// http_refusal, http_response, http_resume, http_websocket, http_access) move bytes between the engines (HeadScanner,
// parse_*_head, BodyReader, head_rewriter, HttpPosition), the client and the upstream connection.
//
// One exchange at a time; a pipelined request waits in in_ until the response before it is with the kernel:
//
//   idle ── head complete, record published ──> exchange ── response complete ──> idle | finish()
//                                                  └── 101 ──> upgraded: Session::relay(), frames through the relay
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <proxy/client/body_pace.hpp>
#include <proxy/client/body_reader.hpp>
#include <proxy/client/content_matcher.hpp>
#include <proxy/client/http_head.hpp>
#include <proxy/client/http_position.hpp>
#include <proxy/client/response_writer.hpp>
#include <proxy/client/session.hpp>
#include <proxy/client/websocket_handshake.hpp>
#include <proxy/client/websocket_relay.hpp>

namespace suture {

struct ForwardingFacts;

class HttpSession final : public Session {
 public:
  HttpSession(WorkerContext& worker, ListenerContext& listener, StreamSocket client, const ConnFacts& facts);

  void start() override;

 private:
  void on_ready() override;
  void on_deadline() override;
  void on_connect_failed(int error) override;
  void complete_record() override;
  void resume(const Resumption& resumption) override;

  // Request side (http_session.cpp). False: the session has ended or is lingering.
  bool pump_request();
  bool consume_buffered();
  std::size_t consume(std::string_view data);
  std::size_t consume_head(std::string_view data);
  bool start_exchange(std::string_view head, std::string_view rest, std::size_t& body_bytes);
  void begin_exchange(const RequestHead& request);
  void write_upstream_head();
  bool feed_request_body(std::string_view data, std::size_t& used);
  bool take_request_body(std::string_view data, std::size_t& used, std::string_view& passed);
  std::string_view feed_body(std::string_view data, std::size_t& used);
  void note_request_body(std::string_view bytes);
  void note_pending(std::string_view bytes);
  void note_waiting();
  bool pass_on(std::string_view first, std::string_view second = {});
  void flush_upstream();
  bool note_passed(const IoResult& sent);
  void wait_for_upstream();
  bool input_closed();
  // A response of our own, then the end of the connection.
  void refuse(unsigned status, std::string_view reason, CloseCause cause);
  void refuse_head(const HeadError& error);
  bool body_too_large(std::uint64_t bytes);  // true: refused
  void try_again(CloseCause cause);
  void send_own_response(unsigned status, std::size_t body_bytes, CloseCause cause);

  // Response side (http_response.cpp).
  bool pump_response();
  bool take_response(std::string_view data);
  bool relay_interim(std::string_view head);
  bool send_response_head(std::string_view rest);
  bool send_response_body(std::string_view head, std::string_view data);
  void begin_response_body(BodyFraming framing);
  void store_response();
  bool switch_protocols(std::string_view rest);
  bool end_exchange();
  bool upstream_lost(int error);
  bool retry();
  bool bad_gateway(std::string_view reason, Counter& counter);

  // Sessions that were taken over (http_resume.cpp).
  void resume_idle(const Resumption& resumption, std::string_view known);
  void resume_exchange(const Resumption& resumption, std::string_view known);
  bool resume_request();
  bool resume_response(ResumeRung rung, std::uint64_t at);
  bool refetch(std::uint64_t at);
  Millis patience(std::uint64_t bytes) const;
  void patience_begins();
  bool write_known(std::string_view bytes);
  void ask_application(std::string_view body);
  bool take_rest(std::string_view rest);
  bool take_range(std::string_view rest);
  std::optional<std::string> match_rest(std::string_view content, bool last);
  bool prime(std::string_view data, bool last);
  void resume_fails(const char* reason);
  void refuse_behind(std::string_view known);
  void policy_fails(bool begun, std::string_view known);

  // The access log (http_access.cpp). From the first byte of a request on, or a heal's first moment: without effect
  // where there is no log.
  void note_request_begins();
  void note_request_line(std::string_view bytes);
  void note_request(const RequestHead& request);
  void log_access(unsigned status, std::uint64_t body_bytes, std::optional<CloseCause> close);
  void log_exchange(std::optional<CloseCause> close);
  void on_ending(CloseCause cause) override;
  std::string timing_of_heal() const;

  // WebSocket (http_websocket.cpp). bool: false once the session has ended or is opaque no more.
  void add_websocket_facts(ForwardingFacts& facts);
  std::optional<WebSocketTerms> websocket_terms();
  bool begin_websocket(const WebSocketTerms& terms, std::string_view rest);
  void publish_websocket();
  bool pass_to_upstream(std::string_view data) override;
  bool pass_to_client(std::string_view data) override;
  bool websocket_broken(const char* rule, const std::string& to_client, const std::string& to_upstream);
  void on_sweep() override;
  void resume_websocket(const Resumption& resumption);
  bool write_rest(const Resumption& resumption);
  void ask_to_reattach();
  void pump_reattaching();
  bool take_reattaching();
  void reattached();
  void close_websocket(const char* reason);

  bool ended() const { return over() || ending(); }
  std::uint32_t response_ms() const { return route_->response_ms.value_or(worker_.options.timeouts.response_ms); }
  void wait_for_response();
  std::uint32_t request_body_ms() const {
    return route_->request_body_ms.value_or(worker_.options.timeouts.request_body_ms);
  }
  void next_request_waits();
  bool waits_for_request() const { return !exchange_ || !request_body_.done(); }
  HttpPosition position() { return HttpPosition(*record_.http); }

  std::size_t pending_told_ = 0;  // of in_, when the record was last sent for its sake
  std::string in_;                // read from the client, not yet consumed: a partial head, or pipelined requests
  std::string upstream_in_;       // a partial response head
  HeadScanner request_scanner_, response_scanner_;
  BodyReader request_body_, response_body_;
  BodyPace pace_;  // of the request's body
  ResponseWriter writer_;
  const config::Route* route_;  // of the current exchange, or of the last one; the listener's default first
  std::shared_ptr<const std::string> head_;  // of the current request, as the client sent it
  struct AccessNote {
    std::chrono::system_clock::time_point time{};
    TimePoint began{};
    std::string request_line, host, referer, user_agent, request_id;
  };
  std::unique_ptr<AccessNote> access_;  // of the request under way
  bool exchange_ = false;
  bool exchange_healed_ = false;  // it was taken over from another node
  bool in_step_ = false;          // on_ready() is on the stack
  bool head_begun_ = false;
  bool old_client_ = false;  // HTTP/1.0
  bool upgrade_asked_ = false;
  bool upgraded_ = false;
  bool record_body_ = false;       // the request's body goes into the record
  std::size_t body_recorded_ = 0;  // of it, when the record was last sent for its sake
  bool body_passed_ = false;       // part of the request's body has left: it cannot be sent again
  bool any_passed_ = false;        // part of the request has left
  bool retried_ = false;
  bool upstream_broken_ = false;  // does not take more of the request
  bool interim_seen_ = false;
  bool response_begun_ = false;
  bool upstream_reusable_ = false;
  bool close_after_ = false;
  std::uint64_t s_rule_until_ = 0;           // S of the claim; 0: this session began here
  bool repeat_ = false;                      // the application may have had this request before
  std::optional<std::uint64_t> range_from_;  // the exchange goes on at this byte of its body
  // The rest of a response that a former owner began, until it is certain that what comes is that.
  struct Resumed {
    ResumeRung rung = ResumeRung::range;
    std::uint64_t at = 0;                   // `out` offset at which it goes on
    std::optional<ContentMatcher> matcher;  // refetch
    Millis patience = Millis::max();        // so long the application has for it to be certain
    TimePoint until = TimePoint::max();
    std::string partial, begun;  // events: content of the event under way, then and now
    bool begins = false;         // events: from the stream's first byte on, or within its BOM
    bool or_refetch = false;     // range: everything again will do, too
  };
  std::optional<Resumed> resumed_;
  std::uint64_t prime_bytes_ = 0;  // of its rest, that the client may hold out of order (priming.hpp)
  std::string prime_;              // ... as far as they have come

  struct Reattaching {  // the application was asked to go on, and has not answered
    std::string key, resume;
  };
  struct KeepAlive {
    std::uint64_t in = 0, out = 0;  // at the last sweep
    Millis quiet{0}, unanswered{0};
    bool asked = false;
  };
  struct Upgraded {
    explicit Upgraded(WebSocketRelay r) : relay(std::move(r)) {}
    WebSocketRelay relay;
    std::optional<Reattaching> reattaching;
    KeepAlive alive;
  };
  std::unique_ptr<Upgraded> websocket_;  // null: another protocol, or frames that are not known
  std::string websocket_session_;        // what Suture-Session of this exchange's request said
};

}  // namespace suture
