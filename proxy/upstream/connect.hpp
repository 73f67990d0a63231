// Connecting to the application: TCP or a unix stream socket, without blocking.
#pragma once

#include <proxy/config/config.hpp>
#include <proxy/upstream/stream_socket.hpp>
#include <suture/result.hpp>

namespace suture {

struct ConnectStart {
  StreamSocket socket;
  bool connected = false;  // false: wait until it is writable, then connect_result()
};

// TCP_NODELAY is set. Error::errno_value tells why not (ECONNREFUSED, ENOENT, EMFILE, EAGAIN of a full unix backlog…).
Result<ConnectStart> start_connect(const config::UpstreamAddress& address);

// SO_ERROR of a socket that became writable or failed: 0 once connected.
int connect_result(int fd);

}  // namespace suture
