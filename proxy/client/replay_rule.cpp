#include <proxy/client/replay_rule.hpp>

#include <proxy/client/http_head.hpp>

namespace suture {

bool may_replay(config::Replay policy, const RequestHead& request) {
  unsigned keys = 0;
  bool empty = false;
  if (policy == config::Replay::keyed) {
    for (const Field& field : request.fields) {
      if (field.kind != FieldKind::end_to_end || !equals_nocase(field.name, "idempotency-key")) continue;
      ++keys;
      empty = empty || field.value.empty();
    }
  }
  return may_replay(policy, request.method, keys == 1 && !empty);
}

}  // namespace suture
