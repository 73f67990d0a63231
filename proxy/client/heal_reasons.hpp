// Why a healed session did not get a better rung of the ladder: labels of suture_heal_failures_total{reason}, and what
// the heal's log line says. healing/heal_plan gives the first group, the session itself the second.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

// X(NAME): the label is the name.
#define SUTURE_HEAL_REASONS(X)                                                                            \
  /* the plan: nothing is known that could be finished */                                                 \
  X(mode_tcp)                                                                                             \
  X(upgraded)                                                                                             \
  X(no_state)                                                                                             \
  /* the plan: the client stands where the record cannot say what comes next */                           \
  X(cursor_behind)    /* below what it had acknowledged before */                                         \
  X(cursor_beyond)    /* above the end of the last response */                                            \
  X(response_unknown) /* inside a response that the record does not know yet */                           \
  X(partial_head)     /* inside a response head */                                                        \
  X(partial_interim)  /* inside, or between, interim responses (1xx) */                                   \
  X(sack_above)       /* it may hold bytes of the former owner above c */                                 \
  X(no_sack)          /* the same, and it cannot say so */                                                \
  X(identical_only)   /* before our fence the client followed an owner whose record never came */         \
  /* the plan: bytes that only the dead owner had */                                                      \
  X(lost_bytes)      /* acknowledged to the client, and in no record */                                   \
  X(partial_request) /* part of a later request, or all of it */                                          \
  /* the plan: a request that cannot be sent again */                                                     \
  X(no_head)                                                                                              \
  X(not_idempotent)                                                                                       \
  X(replay_policy) /* its method would allow it, the route does not */                                    \
  X(request_body)                                                                                         \
  /* the plan: a response that cannot be asked for from its middle */                                     \
  X(response_method)                                                                                      \
  X(response_status)                                                                                      \
  X(response_framing)                                                                                     \
  X(no_etag)                                                                                              \
  X(no_checkpoint) /* no mark lies beyond what the client may hold */                                     \
  X(no_event_id)   /* an event stream without ids */                                                      \
  /* the plan: a WebSocket that no other application instance can take up */                              \
  X(websocket_frame)      /* inside a frame, or among frames, that the record does not have */            \
  X(websocket_fragmented) /* a message to the client is half delivered */                                 \
  X(websocket_upload)     /* a frame or message of the client, too long to be recorded, is under way */   \
  X(websocket_closing)    /* a Close frame or a FIN has passed */                                         \
  X(not_resumable)        /* the application has not opted in */                                          \
  /* the session, of a WebSocket */                                                                       \
  X(resume_refused)  /* the application did not take it up */                                             \
  X(resume_mismatch) /* it did, on other terms or with a count that cannot be right */                    \
  /* the session */                                                                                       \
  X(range_refused)  /* the application did not answer 206 */                                              \
  X(range_mismatch) /* 206, but not the bytes that are missing */                                         \
  X(other_response) /* asked for again, it is another: status, type, length, or its beginning */          \
  X(application)    /* it is not reachable, or answered nothing usable */                                 \
  X(no_listener)    /* none of ours has the session's VIP:port and mode */                                \
  X(not_watched)    /* the event loop did not take the descriptor */                                      \
  X(client_gone)    /* the client reset it, or everything took too long, before the first resumed byte */ \
  X(stopped)        /* given up by this node before that */                                               \
  X(other)

namespace suture::heal_reason {

#define SUTURE_HEAL_REASON_CONSTANT(name) inline constexpr const char name[] = #name;
SUTURE_HEAL_REASONS(SUTURE_HEAL_REASON_CONSTANT)
#undef SUTURE_HEAL_REASON_CONSTANT

inline constexpr auto kAll = std::to_array<std::string_view>({
#define SUTURE_HEAL_REASON_ENTRY(name) #name,
    SUTURE_HEAL_REASONS(SUTURE_HEAL_REASON_ENTRY)
#undef SUTURE_HEAL_REASON_ENTRY
});

// Place in kAll; that of `other` for anything else.
constexpr std::size_t index_of(std::string_view reason) {
  for (std::size_t i = 0; i < kAll.size(); ++i)
    if (kAll[i] == reason) return i;
  return kAll.size() - 1;
}

}  // namespace suture::heal_reason
