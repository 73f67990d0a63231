#include "proxy/healing/stray_policy.hpp"

namespace suture::healing {

std::string_view to_label(StrayVerdict verdict) {
  switch (verdict) {
#define SUTURE_STRAY_LABEL(name, label) \
  case StrayVerdict::name:              \
    return label;
    SUTURE_STRAY_VERDICTS(SUTURE_STRAY_LABEL)
#undef SUTURE_STRAY_LABEL
    case StrayVerdict::count:
      break;
  }
  return "invalid";
}

StrayVerdict judge_stray(const StrayFacts& facts) {
  if (facts.claimed) return StrayVerdict::claim;
  // Never an RST of ours. If the socket has gone, the kernel answers one, which the egress program drops.
  if (facts.owner == KnownOwner::own) return StrayVerdict::deliver;
  // The client's answer to a probe, if it is gone. An RST may be forwarded to a living owner by the kernel, but here
  // its owner is unknown: answering or asking would turn a forged RST into traffic between the nodes.
  if (facts.rst) return facts.owner == KnownOwner::dead ? StrayVerdict::claim : StrayVerdict::drop_rst;
  if (facts.owner == KnownOwner::living) return StrayVerdict::forward_record;
  if (facts.owner == KnownOwner::dead) return StrayVerdict::claim;
  if (facts.question == Question::answered) return StrayVerdict::forward_answer;
  if (facts.question == Question::open) return StrayVerdict::hold;
  return StrayVerdict::ask;
}

StrayVerdict judge_unanswered(const UnansweredFacts& facts) {
  if (facts.owner == KnownOwner::living) return StrayVerdict::forward_record;
  if (facts.owner == KnownOwner::dead) return StrayVerdict::claim;
  if (facts.owner == KnownOwner::own) return StrayVerdict::deliver;
  if (facts.peers_complete) return StrayVerdict::reset;
  return facts.owner_must_be_dead ? StrayVerdict::reset_unrecorded : StrayVerdict::drop_unproven;
}

}  // namespace suture::healing
