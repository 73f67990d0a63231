// make DIR: writes the messages of messages.hpp into DIR, NAME.bin as they go over the wire and, of the stream's,
// NAME.txt for people. Compiled against the previous build by tests/upgrade/wire/make.
#include <fstream>
#include <iostream>
#include <string>

#include <proto/statesync.pb.h>
#include <statesync/codec.hpp>

#include "messages.hpp"

namespace {

using namespace suture::statesync;

template <class Proto, class Message>
bool write(const std::string& path, const Message& message) {
  Proto proto;
  encode(message, proto);
  if (!decode(proto)) {
    std::cerr << path << ": this build does not read what it writes\n";
    return false;
  }
  std::ofstream(path + ".bin", std::ios::binary) << proto.SerializeAsString();
  std::ofstream text(path + ".txt");
  text << proto.Utf8DebugString();
  return text.good();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make DIR\n";
    return 2;
  }
  bool good = true;
  for (const auto& [name, message] : upgrade::to_receiver())
    good &= write<v1::ToReceiver>(std::string(argv[1]) + "/to_receiver." + name, message);
  for (const auto& [name, message] : upgrade::to_sender())
    good &= write<v1::ToSender>(std::string(argv[1]) + "/to_sender." + name, message);
  for (const auto& [name, datagram] : upgrade::datagrams()) {
    const auto bytes = encode(datagram, upgrade::pair_key());
    std::ofstream(std::string(argv[1]) + "/liveness." + name + ".bin", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  return good ? 0 : 1;
}
