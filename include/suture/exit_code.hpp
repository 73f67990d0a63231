// How the process ends, for whoever started it (systemd, Docker, a script): sysexits(3) where it has a number.
#pragma once

namespace suture::exit_code {

constexpr int failed = 1;          // could not do it, or could not go on; the last log line says why
constexpr int usage = 2;           // wrong command line
constexpr int no_permission = 77;  // EX_NOPERM: a capability is missing
constexpr int config = 78;         // EX_CONFIG: configuration, environment variables or certificates are wrong; another
                                   // start with the same ones would end the same way

}  // namespace suture::exit_code
