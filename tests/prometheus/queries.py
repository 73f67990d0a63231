"""What the rules and the dashboard ask for, and what there is to be asked: for test_rules.py, test_grafana.py and tests/e2e/test_dashboard.py.

    alerts(), recordings()                the rules of docker/prometheus/rules.yml as they stand there
    dashboard_queries()                   [(panel's title, expression, legend)] of docker/grafana/suture.json
    selectors("a_total{x=\"1\"} / b")     [("a_total", [("x", "=", "1")]), ("b", [])], without functions, labels and numbers
    names_in_source()                     every series that the C++ source registers
    scraped()                             {(name, frozenset of (label, value))} of scrape.txt, one PoP of the lab

scrape.txt is renewed with: docker/lab exec pop1 curl -s 127.0.0.1:9180/metrics > tests/prometheus/scrape.txt
"""
import functools
import json
import pathlib
import re

import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CONFIG = SOURCE / "docker" / "prometheus" / "prometheus.yml"
RULES = SOURCE / "docker" / "prometheus" / "rules.yml"
RULES_TEST = SOURCE / "docker" / "prometheus" / "rules_test.yml"
DASHBOARD = SOURCE / "docker" / "grafana" / "suture.json"
SCRAPE = pathlib.Path(__file__).resolve().parent / "scrape.txt"

OF_PROMETHEUS = {"up", "ALERTS"}
OF_THE_TARGET = {"pop", "job", "instance"}  # labels that the scrape configuration gives
# A series is something of ours, recorded (with a colon), or one of Prometheus' own; everything else is PromQL's or a label.
_SERIES = re.compile(r'(?<![\w:"$])((?:suture|process)_\w+|\w+:\w[\w:]*|up|ALERTS)(?![\w:(])\s*(\{[^}]*\})?')
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


@functools.cache
def groups():
    return yaml.safe_load(RULES.read_text())["groups"]


def alerts():
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def recordings():
    return [rule for group in groups() for rule in group["rules"] if "record" in rule]


@functools.cache
def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_queries():
    found = [(panel["title"], target["expr"], target["legendFormat"]) for panel in panels() for target in panel["targets"]]
    return found + [(one["name"], one["expr"], one["titleFormat"]) for one in json.loads(DASHBOARD.read_text())["annotations"]["list"]]


def every_query():
    """[(where, expression)] of rules and dashboard alike."""
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in recordings() + alerts()] + \
           [(f"panel {title}", query) for title, query, _ in dashboard_queries()]


def selectors(expression):
    return [(found[1], _MATCHER.findall(found[2] or "")) for found in _SERIES.finditer(expression)]


@functools.cache
def names_in_source():
    found = {"process_" + name for name in _literals("process")} | {"suture_" + name for name in _literals("suture")}
    histograms = {name for path in _sources() for name in re.findall(r'histogram\(\s*"(suture_\w+)"', path.read_text())}
    return (found - histograms) | {name + suffix for name in histograms for suffix in ("_bucket", "_sum", "_count")}


def _sources():
    return [path for folder in ("include", "proxy", "statesync") for path in sorted((SOURCE / folder).rglob("*.cpp"))]


def _literals(prefix):
    return {name for path in _sources() for name in re.findall(rf'"{prefix}_([a-z_]+)"', path.read_text())}


def series_of(text):
    found = set()
    for name, labels in re.findall(r"^(\w+)(?:\{([^}]*)\})? \S+$", text, re.M):
        found.add((name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))))
    return found


@functools.cache
def scraped():
    return series_of(SCRAPE.read_text())


def matches(labels, matcher):
    name, operator, wanted = matcher
    value = dict(labels).get(name, "")
    same = value == wanted if operator in ("=", "!=") else re.fullmatch(wanted, value) is not None
    return same == (operator in ("=", "=~"))


def unknown(name, matchers, series):
    """What of a selector no series answers to: a text, or None. Each alternative of a|b counts by itself."""
    of_name = [labels for one, labels in series if one == name]
    for label, operator, wanted in matchers:
        if label in OF_THE_TARGET:
            continue
        if not any(label in dict(labels) for labels in of_name):
            return f"{name} has no label {label}"
        for one in wanted.split("|"):
            positive = "=~" if operator in ("=~", "!~") else "="
            if not any(matches(labels, (label, positive, one)) for labels in of_name):
                return f"{name} has no {label} {one!r}"
    return None
