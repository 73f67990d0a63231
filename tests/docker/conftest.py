"""Tests that need a Docker engine: the images, docker/compose.yml, the lab made of it. The lab and the clients are those of tests/e2e,
with the other engine. Everything is taken away afterwards but the images, which are the next run's cache."""
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "e2e"))

from lab import Lab  # noqa: E402

BUILD_SECONDS = 1500  # compiling everything on two busy cores
LAB = f"dk{os.getpid()}"
USER = 10001  # the image's


def docker(*words, **more):
    return subprocess.run(["docker", *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, **more)


def pytest_collection_modifyitems(items):
    """One clear line, not thirty errors, where there is no engine."""
    try:
        done = docker("version", "-f", "{{.Server.Version}}")
        answer = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError:
        answer = "docker is not installed"
    if answer:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"no Docker engine answers: {answer}"))


@pytest.fixture(scope="session")
def images():
    """Built, and tagged :latest. SUTURE_TAG=latest takes what is there, for who works on the lab."""
    if not os.environ.get("SUTURE_TAG"):
        done = subprocess.run([SOURCE / "docker" / "build"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stderr[-4000:]
        print(done.stdout)


@pytest.fixture(scope="session")
def capabilities(images):
    """What suture wants of this engine (docker/compose.yml says why)."""
    words = ["--cap-drop", "ALL"]
    for name in ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "DAC_OVERRIDE"):
        words += ["--cap-add", name]
    known = docker("create", "--cap-add", "BPF", "suture")
    if known.returncode:
        return words + ["--cap-add", "SYS_ADMIN"]
    docker("rm", known.stdout.strip())
    return words + ["--cap-add", "BPF", "--cap-add", "PERFMON"]


@pytest.fixture
def home(images, tmp_path):
    """A directory with certificates and suture.yaml, readable for the image's user."""
    pki = tmp_path / "pki"
    pki.mkdir()
    os.chown(pki, USER, USER)
    for words in (["init", "/pki"], ["node", "/pki", "pop1", "1"]):
        done = docker("run", "--rm", "-v", f"{pki}:/pki", "suture", "pki", *words)
        assert done.returncode == 0, done.stderr
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="session")
def lab(images):
    one = Lab(LAB)
    one.ok("down")
    one.environment["SUTURE_TAG"] = "latest"  # built above
    try:
        one.ok("up", "--engine", "docker", timeout=600)
        yield one
    finally:
        one.end_processes()
        one.ok("down")
