"""docker/host/suture.service, as systemd reads it: Debian's systemd-analyze in a container with the image's own suture. (A systemd that
runs it would need more than this engine gives.)"""
import re
import subprocess

import pytest
from conftest import SOURCE, docker

IMAGE = "suture-systemd"  # kept as cache, as the others are
DOCKERFILE = """FROM suture:latest
USER root
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd >/dev/null \\
 && rm -rf /var/lib/apt/lists/*
"""
EXPOSURE_MAX = 65  # tenths: what it is with the capabilities that suture needs. Lower it when the unit gives up more.


@pytest.fixture(scope="module")
def analyze(images):
    """analyze(unit's text, words): systemd-analyze of it as suture.service"""
    made = subprocess.run(["docker", "build", "-q", "-t", IMAGE, "-"], input=DOCKERFILE, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr

    def run(text, *words):
        script = f"cat >/etc/systemd/system/suture.service && systemd-analyze --no-pager {' '.join(words)} /etc/systemd/system/suture.service"
        return subprocess.run(["docker", "run", "-i", "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c", script], input=text,
                              capture_output=True, text=True, timeout=120)
    return run


@pytest.fixture(scope="module")
def unit():
    return (SOURCE / "docker" / "host" / "suture.service").read_text()


def test_systemd_reads_every_line_of_the_unit(analyze, unit):
    done = analyze(unit, "verify", "--man=no")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("right, wrong", [("KillMode=mixed", "KillMode=mixt"), ("NoNewPrivileges=", "NoNewPriviledges="),
                                          ("/usr/bin/suture run -c /etc/suture/suture.yaml\n", "/usr/bin/sutur run\n")])
def test_a_mistake_in_the_unit_would_be_seen(analyze, unit, right, wrong):
    assert right in unit
    done = analyze(unit.replace(right, wrong), "verify", "--man=no")
    assert done.returncode or done.stderr, "systemd-analyze verify finds nothing"


def test_exposure(analyze, unit):
    done = analyze(unit, "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}")
    overall = re.search(r"Overall exposure level for suture.service: ([\d.]+)", done.stdout)
    assert overall, done.stdout + done.stderr
    print(f"\nsuture.service: exposure {overall[1]}")
    assert done.returncode == 0, done.stdout


def test_it_ends_as_the_program_expects(unit):
    """The statuses after which starting again would not help are those of include/suture/exit_code.hpp; the drain has its time."""
    never = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.M)[1].split()
    codes = dict(re.findall(r"(\w+) = (\d+)", (SOURCE / "include" / "suture" / "exit_code.hpp").read_text()))
    assert {"77", "78"} == set(never) <= set(codes.values()), codes
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > 60
    assert docker("run", "--rm", "--entrypoint", "id", "suture:latest", re.search(r"^User=(\w+)$", unit, re.M)[1]).returncode == 0
