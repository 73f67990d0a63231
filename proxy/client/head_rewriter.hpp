// The heads that are passed on: same fields in the same order, minus what belongs to one connection only (RFC 9110
// section 7.6.1), plus what a proxy says about itself.
#pragma once

#include <string>
#include <string_view>

#include <proxy/client/http_head.hpp>

namespace suture {

struct ForwardingFacts {
  std::string_view client;      // address, without brackets: X-Forwarded-For
  std::string_view local_host;  // "address:port" of the VIP: Host where an HTTP/1.0 client sent none
  std::string_view node_name;   // Via, X-Served-By
  std::string_view request_id;  // for requests that bring no usable X-Request-Id
  bool replay = false;          // Suture-Replay: 1, the application may have had this request before
  // Both or none: Range (e.g. "bytes=7-") and If-Range, in place of the client's own.
  std::string_view range = {};
  std::string_view if_range = {};
  std::string_view last_event_id = {};  // Last-Event-ID, in place of the client's own
  // WebSocket (docs/websocket.md): Suture-Session; of one that is taken up again Suture-Resume, and our own
  // Sec-WebSocket-Key in place of the client's.
  std::string_view session = {};
  std::string_view resume = {};
  std::string_view websocket_key = {};
};

// Appends to `out`. X-Forwarded-* of the client are dropped: nobody is trusted.
void write_request_head(const RequestHead& head, const ForwardingFacts& facts, std::string& out);

struct ResponsePlan {
  bool close = false;             // Connection: close
  bool say_keep_alive = false;    // to an HTTP/1.0 client that asked for it
  bool chunked = false;           // the body goes out chunked
  bool switch_protocols = false;  // 101: Upgrade and Connection stay
  // Server-Timing of our own, behind the application's; "": none. Never for interim responses.
  std::string_view server_timing = {};
  std::string_view websocket_extensions = {};  // in place of the application's; empty: as they are
};
void write_response_head(const ResponseHead& head, const ResponsePlan& plan, std::string_view node_name,
                         std::string& out);

// A response of our own, complete, with Connection: close. `method` HEAD gets no body.
void write_error_response(unsigned status, std::string_view reason, std::string_view node_name, std::string_view method,
                          std::string& out, std::string_view server_timing = {});

// 503 of a session that was taken over: nobody executed this, or nobody knows; try again. Without a body, so that it
// fits whatever the method was. With Connection: close.
void write_try_again(std::string_view node_name, std::string& out, std::string_view server_timing = {});

std::string_view status_text(unsigned status);

}  // namespace suture
