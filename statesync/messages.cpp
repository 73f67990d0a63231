#include <statesync/messages.hpp>

namespace suture::statesync {

std::string_view to_string(Refusal reason) {
  switch (reason) {
    case Refusal::bad_message:
      return "bad_message";
    case Refusal::out_of_sequence:
      return "out_of_sequence";
    case Refusal::version:
      return "version";
    case Refusal::unknown_node:
      return "unknown_node";
    case Refusal::own_id:
      return "own_id";
    case Refusal::duplicate_id:
      return "duplicate_id";
    case Refusal::incarnation_reused:
      return "incarnation_reused";
    case Refusal::identity_mismatch:
      return "identity_mismatch";
    case Refusal::wrong_ca:
      return "wrong_ca";
    case Refusal::expired:
      return "expired";
    case Refusal::bad_certificate:
      return "bad_certificate";
    case Refusal::wrong_certificate:
      return "wrong_certificate";
    case Refusal::connect:
      return "connect";
    case Refusal::silent:
      return "silent";
    case Refusal::count_:
      break;
  }
  return "unknown";
}

bool concerns_identity(Refusal reason) {
  return reason == Refusal::own_id || reason == Refusal::duplicate_id || reason == Refusal::incarnation_reused;
}

}  // namespace suture::statesync
