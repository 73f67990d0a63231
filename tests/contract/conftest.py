"""Fixtures of the kernel contract tests: what PROTOCOL.md assumes of the kernel, asserted on the kernel at hand.

Root; /usr/bin/python3 -m pytest tests/contract. Everything lives in namespaces sct<pid>_*; nothing outside is changed.
"""
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from link import Conn, Link  # noqa: E402
from netns import Namespace  # noqa: E402
from observer import Observer  # noqa: E402

PREFIX = f"sct{os.getpid()}"


def remove_leftovers():
    """What runs left behind that were killed before they could clean up."""
    for path in [*pathlib.Path("/run/netns").glob("sct*_*"), *pathlib.Path("/sys/fs/bpf").glob("sct*")]:
        owner = re.match(r"sct(\d+)(_|$)", path.name)
        if owner and not pathlib.Path("/proc", owner[1]).exists():
            if path.parent.name == "netns":
                subprocess.run(["ip", "netns", "del", path.name], check=False)
            else:
                shutil.rmtree(path)


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the contract tests make network namespaces: run them as root", returncode=1)
    remove_leftovers()
    # One CPU: then softirqs run in the order of the sends that caused them, which is what a barrier relies on (wire.py).
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def pytest_report_header(config):
    return f"kernel contract on {platform.release()}"


def pytest_configure(config):
    config.addinivalue_line("markers", "kernel(major, minor): the assumption holds from this kernel on")


def kernel_version():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups()))


def pytest_runtest_setup(item):
    for mark in item.iter_markers("kernel"):
        if kernel_version() < mark.args:
            pytest.skip(f"needs kernel {mark.args[0]}.{mark.args[1]} ({mark.kwargs['why']}), this is {platform.release()}")


@pytest.fixture(scope="session")
def link():
    one = Link(PREFIX)
    try:
        one.up()
        yield one
    finally:
        one.down()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request):
    return request.param


@pytest.fixture
def connect(link):
    """connect(family, **options): a connection that is taken down after the test."""
    made = []

    def make(family=4, **options):
        kind = options.pop("kind", Conn)
        made.append(kind(link, family, **options))
        return made[-1]
    yield make
    for one in reversed(made):
        one.close()


@pytest.fixture
def namespace():
    """namespace("x"): a further namespace of the test's own."""
    made = []

    def make(name):
        made.append(Namespace(f"{PREFIX}_{name}"))
        return made[-1]
    yield make
    for one in made:
        one.delete()


@pytest.fixture
def sysctl(link):
    """sysctl("server"|"client", key, value), set back after the test."""
    before = []

    def put(side, key, value):
        space = getattr(link, side)
        before.append((space, key, space.sysctl(key)))
        space.sysctl(key, value)
    yield put
    for space, key, value in reversed(before):
        space.sysctl(key, value)


@pytest.fixture(scope="session")
def programs(tmp_path_factory, link):
    """The BPF programs of observe.bpf.c, loaded, and watching both directions of the owner's device."""
    one = Observer(tmp_path_factory.mktemp("bpf"), PREFIX)
    try:
        for direction in ("ingress", "egress"):
            one.attach(link.server, "s0", direction, direction)
        yield one
    finally:
        one.close()


@pytest.fixture
def observer(programs):
    """The same, nothing seen yet."""
    programs.clear()
    return programs
