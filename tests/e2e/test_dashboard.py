"""Debian's Prometheus at core1, with the lab's own configuration and rules, scraping every PoP as everybody does: each query of the
dashboard and of the rules gets an answer, a healthy lab fires nothing, and what Prometheus counts are the heals that were made."""
import json
import re
import sys
import time
import urllib.parse

import pytest
from kit_eb import PATIENCE
from kit_heal import apps_of, by, cut_power, known_everywhere, marks, said, two_of_each, wait_healed
from lab import SOURCE, wait_until
from labkit import prometheus as targets
from labkit import suture

sys.path.insert(0, str(SOURCE / "tests" / "prometheus"))

import queries  # noqa: E402

ADDRESS, PORT = "127.0.0.1", 9090
POPS = ["pop1", "pop2", "pop3"]
# What Grafana would fill in.
VARIABLES = {"$pop": ".*", "$__rate_interval": "10s", "$__range": "1m"}
# Panels whose query may have no answer in a lab that is well.
RARE = ("suture_access_log_lost_total",  # no access log is configured
        "changes(process_start_time_seconds")  # nobody has started again
# A machine that is slow enough makes these true.
OF_A_SLOW_MACHINE = {"SutureStalls", "SutureLivenessFlapping"}


class Prometheus:
    def __init__(self, lab, directory):
        self._network = lab.state.engine.network("core1")
        targets.write_targets(lab.state, lab.state.topology())
        text = queries.CONFIG.read_text()
        for there, here in (("/run/suture-lab/prometheus", lab.state.host_dir("prometheus")), ("rules.yml", queries.RULES),
                            ("evaluation_interval: 5s", "evaluation_interval: 1s")):
            assert there in text
            text = text.replace(there, str(here))
        (directory / "prometheus.yml").write_text(text)
        with open(directory / "log", "wb") as log:
            self._process = lab.popen("core1", ["prometheus", f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}",
                                                f"--web.listen-address={ADDRESS}:{PORT}"], stdout=log, stderr=log)
        self._log = directory / "log"
        wait_until(self._ready, PATIENCE, 0.1, "Prometheus to be ready")

    def _ready(self):
        assert self._process.poll() is None, f"Prometheus ended:\n{self._log.read_text()[-3000:]}"
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def _get(self, path):
        connection = suture._NamespaceConnection(self._network, ADDRESS, PORT, PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, path, **parameters):
        status, body = self._get(f"/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), f"{path} {parameters}: {status} {body.decode()}"
        assert not answer.get("warnings"), f"{parameters}: {answer['warnings']}"
        return answer["data"]

    def ask(self, query):
        """[(labels, value)] now."""
        return [(one["metric"], float(one["value"][1])) for one in self.api("query", query=query)["result"]]

    def ask_range(self, query, seconds=20):
        """[labels] of the series that such a graph shows."""
        now = time.time()
        return [one["metric"] for one in self.api("query_range", query=query, start=now - seconds, end=now, step=2)["result"]]

    def number(self, query):
        return sum(value for _, value in self.ask(query))


@pytest.fixture
def prometheus(lab, tmp_path):
    one = Prometheus(lab, tmp_path)
    wait_until(lambda: {labels["pop"]: value for labels, value in one.ask('count_over_time(up{job="suture"}[1m]) * up{job="suture"}')
                        if value >= 2}.keys() == set(POPS), PATIENCE, 0.2, "every PoP scraped twice")
    return one


def filled_in(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def test_the_stored_scrape_is_what_a_pop_says(lab):
    """What tests/prometheus judges labels by. Peers and owners are ids, build_info is of the build."""
    def fixed(series):
        return {(name, labels) for name, labels in series
                if name != "suture_build_info" and not {"peer", "owner"} & {label for label, _ in labels}}
    assert fixed(queries.scraped()) == fixed(queries.series_of(lab.admin("pop1", "/metrics")[1])), "renew tests/prometheus/scrape.txt"


def test_every_query_of_the_dashboard_and_of_the_rules_has_an_answer(lab, prometheus):
    for client in ("client1", "client2"):
        for family in (4, 6):
            assert lab.curl(client, lab.url(family, "/who")).returncode == 0
    wait_until(lambda: prometheus.number('sum(suture_requests_total{code="2xx"})') >= 4, PATIENCE, 0.2, "the requests in Prometheus")

    def rules():
        return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), PATIENCE, 0.2, "every rule evaluated")
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}
    assert len(rules()) == len(queries.alerts()) + len(queries.recordings())

    assert prometheus.api("label/pop/values", **{"match[]": "suture_build_info"}) == POPS  # the variable
    silent = []
    for title, expression, legend in queries.dashboard_queries():
        query = filled_in(expression)
        shown = prometheus.ask_range(query)
        instant = prometheus.ask(query)
        if any(part in query for part in RARE):
            continue
        if not shown or not instant:
            silent.append((title, query))
        for labels in shown:
            missing = set(re.findall(r"\{\{(\w+)\}\}", legend)) - set(labels)
            assert not missing, f"{title}: the legend names {missing}, the series has {labels}"
    assert not silent, f"no series: {silent}"

    silent = []
    for rule in queries.alerts() + queries.recordings():
        answer = prometheus.ask(rule["expr"])
        if "record" in rule and not answer:
            silent.append(rule["record"])
        for selector in queries.selectors(rule["expr"]):
            text = f"{selector[0]}{{{','.join(f'{label}{operator}{json.dumps(value)}' for label, operator, value in selector[1])}}}"
            if not prometheus.ask(text):
                silent.append(text)
    assert not silent, f"no series: {silent}"

    firing = {labels["alertname"] for labels, _ in prometheus.ask('ALERTS{alertstate="firing"}')}
    assert firing <= OF_A_SLOW_MACHINE, "a lab that is well"
    series = prometheus.number('count({__name__=~".+"})')
    print(f"\ndashboard: {len(queries.dashboard_queries())} queries in {len(queries.panels())} panels, {len(queries.alerts())} alerts, "
          f"{len(queries.recordings())} recorded; {series:.0f} series of {len(POPS)} PoPs")


def test_heals_of_a_power_cut_are_what_prometheus_counts(lab, prometheus):
    def heals():
        return {labels["rung"]: value for labels, value in prometheus.ask('sum by (rung) (suture_heals_total{pop!="pop1"})')}

    def timed():
        return prometheus.number('sum(suture_heal_seconds_count{pop!="pop1"})')
    apps_of(lab)
    talks = two_of_each(lab, count=3)
    known_everywhere(lab, talks)
    before, timed_before, since = heals(), timed(), marks(lab)
    failures = prometheus.number('sum(suture_heal_failures_total{pop!="pop1"})')
    cut_power(lab, "pop1")
    for talk in talks:
        assert talk.get("/say?id=on") == said("pop2", "on")
        talk.close()
    rungs = by(wait_healed(lab, since, talks), "rung")
    assert rungs == {"idle": len(talks)}

    def counted():
        now = heals()
        return {rung: now[rung] - before[rung] for rung in now if now[rung] != before[rung]} == rungs
    wait_until(counted, PATIENCE, 0.2, f"Prometheus to count {rungs}")
    wait_until(lambda: timed() - timed_before == len(talks), PATIENCE, 0.2, "as many durations")
    assert prometheus.number('sum(suture_heal_failures_total{pop!="pop1"})') == failures

    shown = {title: filled_in(query) for title, query, _ in queries.dashboard_queries()}
    assert round(prometheus.number(shown["Sessions taken over"])) >= len(talks)
    wait_until(lambda: prometheus.number(shown["PoPs not announcing or not scraped"]) == 1, PATIENCE, 0.2, "one PoP missed")

    # The dead PoP is seen from both sides; what it takes to fire is their `for`, which promtool tests.
    def pending():
        found = {labels["alertname"]: labels for labels, _ in prometheus.ask("ALERTS")}
        return found if {"SutureDown", "SuturePeerDown"} <= set(found) else None
    found = wait_until(pending, PATIENCE, 0.2, "SutureDown and SuturePeerDown to be pending")
    assert found["SutureDown"]["pop"] == "pop1" and found["SuturePeerDown"]["peer"] == "1"
    assert "SutureAnnouncedNowhere" not in found and "SutureCutOff" not in found
