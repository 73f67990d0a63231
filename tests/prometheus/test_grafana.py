"""docker/grafana/suture.json: what docker/grafana/make writes, and a dashboard that Grafana 9 and later can read. Its queries: test_rules.py."""
import itertools
import json
import re
import subprocess

from queries import DASHBOARD, SOURCE, panels

MAKE = SOURCE / "docker" / "grafana" / "make"
UNITS = {"none", "short", "s", "bytes", "Bps", "pps", "ops", "cps", "reqps", "percentunit", "bool_yes_no"}  # Grafana's names


def test_the_file_is_what_make_writes():
    assert subprocess.run([MAKE], capture_output=True, text=True, check=True).stdout == DASHBOARD.read_text(), "docker/grafana/make > docker/grafana/suture.json"


def test_variables():
    variables = {one["name"]: one for one in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["pop"]["query"]["query"] == "label_values(suture_build_info, pop)" and variables["pop"]["allValue"] == ".*"


def test_panels():
    everything = json.loads(DASHBOARD.read_text())["panels"]
    assert len({one["id"] for one in everything}) == len(everything)
    assert [one["title"] for one in everything if one["type"] == "row"] == [
        "Traffic", "Healing", "Steering and forwarding", "State sync", "Announcements and health", "Resources"]
    for panel in panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], panel["title"]
            assert set(re.findall(r"\$\w+", target["expr"])) <= {"$pop", "$__rate_interval", "$__range"}, target["expr"]


def test_no_panel_covers_another():
    def cells(one):
        place = one["gridPos"]
        assert place["x"] + place["w"] <= 24
        return set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
    taken = set()
    for one in json.loads(DASHBOARD.read_text())["panels"]:
        assert not taken & cells(one), one["title"]
        taken |= cells(one)
