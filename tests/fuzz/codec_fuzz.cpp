// Fuzz target of the record codec: any bytes either decode into a message that survives a round trip, or are an Error.
// With clang: -fsanitize=fuzzer. With g++ the codec test drives it over a seeded corpus of mutations.
#include <cstdint>
#include <cstdlib>

#include <proto/statesync.pb.h>
#include <statesync/codec.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suture::statesync;
  const auto round_trip = [&](auto proto) {
    if (!proto.ParseFromArray(data, static_cast<int>(size))) return;
    const auto message = decode(proto);
    if (!message) return;
    decltype(proto) again;
    encode(*message, again);
    if (!decode(again)) std::abort();
  };
  round_trip(v1::ToReceiver());
  round_trip(v1::ToSender());
  return 0;
}
