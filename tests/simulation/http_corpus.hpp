// What the conversations are made of: the corpus of tests/unit/cut as far as its answers depend on the request alone
// (each node asks an application of its own), and longer ones that take a while to send.
#pragma once

#include <vector>

#include "tests/unit/cut/cut_kinds.hpp"

namespace suture::sim {

struct HttpKind {
  std::string name;
  std::vector<std::string> requests;
  test::Answer answer;
  bool last = false;  // nothing can follow it on a connection
  bool large = false;
};

const std::vector<HttpKind>& http_corpus();

}  // namespace suture::sim
