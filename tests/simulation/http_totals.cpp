#include "tests/simulation/http_totals.hpp"

namespace suture::sim {

void HttpTotals::add(const HttpTotals& other) {
#define SUTURE_SIM_TOTAL(name) name += other.name;
  SUTURE_SIM_HTTP_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  for (const auto& [name, n] : other.rungs) rungs[name] += n;
  for (const auto& [name, n] : other.reasons) reasons[name] += n;
}

std::string HttpTotals::missing() const {
  std::string out;
#define SUTURE_SIM_TOTAL(name) \
  if (name == 0) out += " " #name;
  SUTURE_SIM_HTTP_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
#define SUTURE_SIM_RUNG(name, label) \
  if (!rungs.contains(label)) out += " rung:" label;
  SUTURE_RESUME_RUNGS(SUTURE_SIM_RUNG)
#undef SUTURE_SIM_RUNG
  return out;
}

std::string HttpTotals::text() const {
  std::string out;
  int column = 0;
#define SUTURE_SIM_TOTAL(name) \
  out += std::string(#name) + " " + std::to_string(name) + (++column % 6 == 0 ? "\n" : "  ");
  SUTURE_SIM_HTTP_TOTALS(SUTURE_SIM_TOTAL)
#undef SUTURE_SIM_TOTAL
  out += "\nrungs:";
  for (const auto& [name, n] : rungs) out += "  " + name + " " + std::to_string(n);
  out += "\nreasons:";
  for (const auto& [name, n] : reasons) out += "  " + name + " " + std::to_string(n);
  return out;
}

}  // namespace suture::sim
