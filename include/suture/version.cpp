#include <suture/version.hpp>

namespace suture {

const char* revision() {
  return SUTURE_REVISION;
}

std::string version_text() {
  const std::string text = SUTURE_VERSION;
  return *revision() == '\0' ? text : text + " (revision " + revision() + ")";
}

}  // namespace suture
