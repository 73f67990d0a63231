"""40 ms between PoPs, 1 % loss and reordering on the client's link: every kind of session in its middle when its owner loses
power, IPv4 and then IPv6. What the client holds out of order then is docs/healing.md's second table."""
import dataclasses
import time

import pytest
from kit_crowd import Crowd
from kit_ea import echo_apps
from kit_heal import apps_of, ledger
from test_heal_crowd import RULES, lab  # noqa: F401  a fixture

EACH = 4
DELAY_MS, LOSS_PCT, REORDER_PCT = 20, 1, 5  # the delay: each PoP's links, each direction

# Where one says that it holds what the dead owner sent, above a gap, only identical bytes may follow.
LOSSY = {kind: dataclasses.replace(rule, reasons=rule.reasons | {"sack_above"}, share=min(rule.share, 0.5)) for kind, rule in RULES.items()}
# It comes in pieces here; what of it is not worth a record of its own yet is recorded within a second.
LOSSY["half a PUT"] = dataclasses.replace(LOSSY["half a PUT"], reasons={"sack_above", "request_body"}, share=0)


@pytest.fixture(autouse=True)
def application(lab):  # noqa: F811
    apps_of(lab)
    echo_apps(lab)
    for pop in ("pop1", "pop2", "pop3"):
        lab.ok("link", pop, "--delay", DELAY_MS)
    lab.ok("link", "client1", "--delay", 10, "--loss", LOSS_PCT, "--reorder", REORDER_PCT)  # who overtakes saves the delay
    yield
    ledger(lab, "")  # fails on whatever is no request


def test_every_kind_over_a_long_and_lossy_way(lab):  # noqa: F811
    """The heir of the first crowd owns the second one, and dies with it: a single PoP is left."""
    for family, owner in ((4, "pop1"), (6, "pop2")):
        assert lab.routed_to("client1", family) == owner
        began = time.monotonic()
        with lab.capture("client1", "tcp") as capture:
            crowd = Crowd(lab, owner, dict.fromkeys(LOSSY, EACH), families=(family,))
            under_way = time.monotonic()
            crowd.cut()
            crowd.finish()
        crowd.check(f"lossy IPv{family}", LOSSY, capture, resets_lost=2)
        print(f"lossy IPv{family}: under way in {under_way - began:.1f} s, over {time.monotonic() - under_way:.1f} s later")
