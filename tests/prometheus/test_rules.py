"""docker/prometheus: what promtool says of it, and that it names nothing that does not exist and no alert that nobody explains."""
import re
import subprocess

import pytest
import yaml
from queries import CONFIG, RULES, RULES_TEST, SCRAPE, SOURCE, OF_PROMETHEUS, alerts, every_query, names_in_source, recordings, scraped, selectors, unknown

OPERATING = SOURCE / "docs" / "operating.md"
# Registered only where the configuration asks for it, so in no scrape of the lab.
CONDITIONAL = {"suture_access_log_lost_total"}


def promtool(*words, **more):
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=120, **more)


@pytest.mark.parametrize("words", [("check", "rules", RULES), ("check", "config", CONFIG), ("test", "rules", RULES_TEST)],
                         ids=["check rules", "check config", "test rules"])
def test_promtool(words):
    done = promtool(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_scrape_is_clean_and_of_this_source():
    done = promtool("check", "metrics", stdin=SCRAPE.open())
    assert done.returncode == 0, done.stdout + done.stderr
    stale = {name for name, _ in scraped()} - names_in_source()
    assert not stale, f"renew tests/prometheus/scrape.txt (queries.py says how): {stale}"


def test_the_source_is_read_right():
    names = names_in_source()
    assert len(names) > 100 and {"suture_heals_total", "suture_heal_seconds_bucket", "process_open_fds"} <= names
    assert names - {name for name, _ in scraped()} - CONDITIONAL == set(), "renew tests/prometheus/scrape.txt"


def test_selectors_are_read_right():
    expression = 'sum by (pop, rung) (rate(suture_a_total{rung=~"x|y",pop="1"}[5m])) / pop:b:rate5m > 5 and up{job="suture"} == 0'
    assert selectors(expression) == [("suture_a_total", [("rung", "=~", "x|y"), ("pop", "=", "1")]), ("pop:b:rate5m", []), ("up", [("job", "=", "suture")])]
    assert unknown("up", [("x", "=", "1")], {("up", frozenset([("x", "2")]))}) == "up has no x '1'"


@pytest.mark.parametrize("where, expression", every_query(), ids=[where for where, _ in every_query()])
def test_every_name_label_and_value_exists(where, expression):
    series, recorded, asked = scraped(), {rule["record"] for rule in recordings()}, selectors(expression)
    assert asked, "a query of nothing"
    for name, matchers in asked:
        assert name in names_in_source() | recorded | OF_PROMETHEUS, f"{name} does not exist"
        if name not in recorded | OF_PROMETHEUS | CONDITIONAL:
            assert unknown(name, matchers, series) is None, unknown(name, matchers, series)


def test_recorded_series_are_read_with_labels_that_they_have():
    by = {rule["record"]: set(rule["record"].partition(":")[0].split("_")) for rule in recordings()}
    for where, expression in every_query():
        for name, matchers in selectors(expression):
            if name in by:
                assert {label for label, _, _ in matchers} <= by[name], f"{where}: {name} does not keep these labels"


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_says_what_to_do(alert):
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/operating.md#{alert['alert'].lower()}"
    section = re.search(rf"^### {alert['alert']}\n(.*?)(?=^##|\Z)", OPERATING.read_text(), re.M | re.S)
    assert section, f"no section ### {alert['alert']} in docs/operating.md"
    for part in ("**Means.**", "**Look.**", "**Do.**"):
        assert part in section[1], f"its section lacks {part}"


def test_no_section_of_an_alert_that_is_gone():
    described = re.findall(r"^### (Suture\w+)$", OPERATING.read_text(), re.M)
    assert sorted(described) == sorted(alert["alert"] for alert in alerts())


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_fires_in_the_tests_and_has_the_labels_that_its_text_names(alert):
    """promtool itself does not mind a {{ $labels.x }} that is empty."""
    firing = [dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"])) for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
              for one in test["promql_expr_test"] for sample in one["exp_samples"]]
    mine = [labels for labels in firing if labels.get("alertname") == alert["alert"]]
    assert mine, "nothing fires it in rules_test.yml"
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    for labels in mine:
        assert labels["severity"] == alert["labels"]["severity"]
        assert named <= set(labels), f"{named - set(labels)} would be empty"
