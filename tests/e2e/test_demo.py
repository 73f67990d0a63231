"""`docker/lab demo`, as the README has it: every session healed, no RST, no wrong byte, and the picture of it."""
import xml.etree.ElementTree

SESSIONS = 28  # fourteen that are moved, fourteen that lose their PoP; two of these may only end


def test_demo_heals_everything_and_draws_it(new_lab, tmp_path):
    lab, picture = new_lab(up=False), tmp_path / "demo.svg"
    said = lab.ok("demo", "--picture", picture, timeout=300)
    assert said.splitlines()[-1] == f"{SESSIONS - 2} of {SESSIONS - 2} sessions healed, 0 resets, 0 wrong bytes", said
    assert "healed by rung: events 2, idle 2, range 4, reattach 2, refuse 2, replay 2   at pop1" in said, said
    drawn = xml.etree.ElementTree.parse(picture).getroot()
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert len([text for text in texts if text.endswith(("IPv4", "IPv6"))]) == SESSIONS
    assert "power cut of pop2" in texts and texts[-1] == said.splitlines()[-1]
    colours = {one.get("stroke") for one in drawn.iter("{http://www.w3.org/2000/svg}path")}
    assert len(colours) == 2, f"bytes of two PoPs, pop2 and pop1: {colours}"
