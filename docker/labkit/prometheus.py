"""Whom the lab's Prometheus scrapes (docker/prometheus/prometheus.yml reads this as file_sd)."""
import json

from . import apps


def write_targets(state, topo):
    targets = [{"targets": [f"{pop.addr4}:{apps.METRICS_PORT}"], "labels": {"pop": pop.name}} for pop in topo.pops()]
    path = state.host_dir("prometheus") / "targets.json"
    path.write_text(json.dumps(targets, indent=1) + "\n")
