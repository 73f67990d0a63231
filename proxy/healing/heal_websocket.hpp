// The healing ladder for an upgraded connection whose frames the record knows (statesync/websocket_state.hpp).
//
//   out:  ... out_acked .. journal_start ..... c ..... out_frame | a long frame under way | out_frame_end
//                          |<---- journal, whole frames ---->|
//
// Between journal_start and out_frame every byte is known, and identical bytes are always safe. So wherever c lies
// there, the client can be brought to out_frame, a frame boundary. What may follow there is of our own making (frames
// of a new application instance, or a Close), and fits only if the client holds nothing above: by SACK, as everywhere.
// An application speaks without being asked, so S = L says nothing; clients without SACK get an RST.
// Inside a frame whose rest nobody has, and above what the record knows, an RST is what is left.
#pragma once

#include "proxy/healing/heal_plan.hpp"

namespace suture::healing {

// `record` is in phase upgraded, with http->websocket. Rungs: reattach; close, with a reason: 1012, without one: the
// stream had ended, and what is missing of it is the journal's rest and a FIN; reset.
Resumption plan_websocket(const SessionRecord& record, const ProofFacts& proof);

}  // namespace suture::healing
