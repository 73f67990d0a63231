"""Start-up trouble: each ends with an exit status other than 0 and one message that names the cause and the mend. And a clean
exit leaves nothing. A bare network namespace stands for the host; no routers, no peers that answer."""
import contextlib
import itertools
import os
import signal
import subprocess

import pytest
from lab import wait_until
from labkit import suture

PATIENCE = 40
_numbers = itertools.count()


class Host:
    """A host with one interface, in which suture is started. Not the lab's: nothing of it may be shared."""

    def __init__(self, directory):
        self.name = f"e2eb{os.getpid()}-{next(_numbers)}"
        self.directory = directory
        self.program = str(suture.binary())
        self.processes = []
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ok("ip", "link", "set", "lo", "up")
        self.ok("ip", "link", "add", "access0", "type", "veth", "peer", "name", "far0")
        self.ok("ip", "link", "set", "far0", "up")
        self.ok("ip", "link", "set", "access0", "up")
        self.ok("ip", "addr", "add", "198.18.7.1/24", "dev", "access0")

    def words(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, argv)]

    def run(self, *argv, prefix=()):
        return subprocess.run(self.words(*prefix, *argv), capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)

    def ok(self, *argv):
        done = self.run(*argv)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def configuration(self, name="suture.yaml", pki=None, cert="one", key=None, ca=None, replace=()):
        pki = pki or self.directory / "pki"
        text = f"""node:
  id: 1
  underlay: [198.18.7.1]
  interfaces: [access0]
vips: [203.0.113.10, "2001:db8:113::10"]
listeners:
  - port: 80
    mode: http
    upstream: 127.0.0.1:8080
statesync:
  listen: 198.18.7.1:7100
  cert_file: {pki}/{cert}.pem
  key_file: {pki}/{key or cert}.key
  ca_file: {ca or pki / 'ca.pem'}
  sync_wait_ms: 100
peers:
  - id: 2
    underlay: 198.18.7.2
    statesync: 198.18.7.2:7100
admin:
  listen: 127.0.0.1:9180
"""
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        path = self.directory / name
        path.write_text(text)
        return path

    def popen(self, *argv, **more):
        process = subprocess.Popen(self.words(*argv), stdin=subprocess.DEVNULL, **more)
        self.processes.append(process)
        return process

    def start(self, config, log="suture.log", ready=True):
        path = self.directory / log
        with open(path, "w") as out:
            process = self.popen(self.program, "run", "-c", config, stdout=out, stderr=out)
        if ready:
            wait_until(lambda: process.poll() is not None or "event=announce" in path.read_text() or " announce " in path.read_text(),
                       PATIENCE, what="announce in the log")
            assert process.poll() is None, path.read_text()
        return process

    def refused(self, config, *fragments, prefix=(), status=1):
        """suture must end by itself, with that status (include/suture/exit_code.hpp) and a message that has all these words."""
        done = self.run(self.program, "run", "-c", config, prefix=prefix)
        said = done.stdout + done.stderr
        assert done.returncode == status, f"exit {done.returncode}: {said}"
        for fragment in fragments:
            assert fragment in said, f"'{fragment}' is not in: {said}"
        assert "terminate called" not in said and "Sanitizer" not in said
        return said

    def picture(self):
        """Everything in the namespace that suture could leave: devices, addresses, routes of every table, tc filters."""
        def lines(*argv):
            return sorted(self.ok(*argv).splitlines())
        # An address whose duplicate detection is under way has no routes of its own yet.
        wait_until(lambda: not self.ok("ip", "-6", "-o", "addr", "show", "tentative").strip(), PATIENCE, what="no tentative address")
        return {"links": [line.split(": ")[1] for line in lines("ip", "-o", "link")],
                "addresses": [" ".join(line.split()[1:4]) for line in lines("ip", "-o", "addr")],
                "routes": lines("ip", "-4", "route", "show", "table", "all") + lines("ip", "-6", "route", "show", "table", "all"),
                "qdiscs": [line.split(" refcnt")[0] for line in lines("tc", "qdisc", "show", "dev", "access0")],
                "filters": lines("tc", "filter", "show", "dev", "access0", "ingress")
                + lines("tc", "filter", "show", "dev", "access0", "egress")}

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pki")
    for words in (["init", directory], ["node", directory, "one", 1], ["node", directory, "two", 2]):
        subprocess.run([str(suture.binary()), "pki", *map(str, words)], check=True, capture_output=True)
    return directory


@pytest.fixture
def host(tmp_path, pki):
    (tmp_path / "pki").symlink_to(pki)
    one = Host(tmp_path)
    yield one
    one.close()


def test_clean_exit_leaves_nothing(host):
    before = host.picture()
    process = host.start(host.configuration())
    during = host.picture()
    assert during["filters"] and during["links"] != before["links"] and during["routes"] != before["routes"]
    assert any("203.0.113.10" in line for line in during["addresses"]), "suture adds the VIP itself"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    after = host.picture()
    after["qdiscs"] = [line for line in after["qdiscs"] if "clsact" not in line or line in before["qdiscs"]] \
        if not after["filters"] else after["qdiscs"]
    assert after == before


def test_a_killed_suture_leaves_what_the_next_start_takes_over(host):
    before = host.picture()
    config = host.configuration()
    process = host.start(config)
    process.kill()
    process.wait()
    left = host.picture()
    assert not any("203.0.113.10" in line and "suture0" in line for line in left["routes"]), "the route goes with the process"
    assert left["filters"], "the filters stay, and keep the kernel silent"
    process = host.start(config, "second.log")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert host.picture()["filters"] == before["filters"] and host.picture()["links"] == before["links"]


@pytest.mark.parametrize("capability", ["net_admin", "net_raw", "net_bind_service"])
def test_missing_capability(host, capability):
    host.refused(host.configuration(), f"CAP_{capability.upper()}", "AmbientCapabilities",
                 prefix=["setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"], status=77)


def test_missing_bpf_capabilities(host):
    drop = "-bpf,-perfmon,-sys_admin"
    host.refused(host.configuration(), "CAP_BPF", "CAP_PERFMON", "cap_add",
                 prefix=["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"], status=77)


@contextlib.contextmanager
def holder(host, kind, address, port):
    """Another program that has the port."""
    program = f"""
import socket, sys, time
s = socket.socket(socket.{'AF_INET6' if ':' in address else 'AF_INET'}, socket.{kind})
s.bind(("{address}", {port}))
if s.type == socket.SOCK_STREAM: s.listen()
print("held", flush=True)
time.sleep(600)
"""
    process = host.popen("/usr/bin/python3", "-c", program, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield
    process.kill()
    process.wait()


@pytest.mark.parametrize("what, kind, address, port", [
    ("listener", "SOCK_STREAM", "0.0.0.0", 80), ("statesync", "SOCK_STREAM", "198.18.7.1", 7100),
    ("admin", "SOCK_STREAM", "127.0.0.1", 9180), ("liveness", "SOCK_DGRAM", "198.18.7.1", 7101),
    ("vxlan", "SOCK_DGRAM", "0.0.0.0", 7102)])
def test_port_in_use(host, what, kind, address, port):
    before = host.picture()
    with holder(host, kind, address, port):
        said = host.refused(host.configuration(), str(port))
        assert any(word in said for word in ("in use", "taken")), said
        if what == "vxlan":
            assert "datapath.vxlan_port" in said
    assert host.picture()["filters"] == before["filters"], "what a failed start had attached is gone again"
    assert host.picture()["links"] == before["links"]
    process = host.start(host.configuration())
    assert process.poll() is None


def test_vxlan_port_of_another_device(host):
    host.ok("ip", "link", "add", "other-vx", "type", "vxlan", "external", "dstport", "7102")
    host.ok("ip", "link", "set", "other-vx", "up")
    host.refused(host.configuration(), "7102", "other-vx", "datapath.vxlan_port")


def test_vxlan_name_of_another_device(host):
    host.ok("ip", "link", "add", "suture-vx", "type", "veth", "peer", "name", "far1")
    host.refused(host.configuration(), "suture-vx", "datapath.vxlan_device")


def test_unknown_interface(host):
    host.refused(host.configuration(replace=[("[access0]", "[nowhere0]")]), "nowhere0", "node.interfaces")


def test_second_suture_of_the_same_configuration(host):
    config = host.configuration()
    first = host.start(config)
    filters = host.picture()
    host.refused(config, "suture0", "another suture")
    assert first.poll() is None and host.picture() == filters, "the first goes on untouched"


def test_certificate_for_another_id(host):
    host.refused(host.configuration(cert="two"), "issued for node 2", "node.id is 1", status=78)


def test_key_of_another_certificate(host):
    host.refused(host.configuration(key="two"), "one.pem", "two.key", "does not belong", status=78)


def test_wrong_ca(host, tmp_path):
    host.ok(host.program, "pki", "init", tmp_path / "other")
    host.refused(host.configuration(ca=tmp_path / "other" / "ca.pem"), "does not verify", "other/ca.pem", status=78)


def test_ca_file_that_is_none(host, tmp_path):
    (tmp_path / "none.pem").write_text("this is no certificate\n")
    host.refused(host.configuration(ca=tmp_path / "none.pem"), "none.pem", status=78)
    host.refused(host.configuration(ca=tmp_path / "absent.pem"), "absent.pem", "suture pki init", status=78)


def expired_copy(pki, directory, name="one", number=1, start="20200101000000Z", end="20200201000000Z"):
    """The same subject, id and key, signed by the same CA, but valid in the past only."""
    directory.mkdir()
    for file in (f"{name}.key", "ca.pem"):
        (directory / file).write_bytes((pki / file).read_bytes())
    (directory / "index.txt").touch()
    (directory / "serial").write_text("1001\n")
    (directory / "ca.cnf").write_text(f"""[ca]
default_ca = c
[c]
database = {directory}/index.txt
serial = {directory}/serial
new_certs_dir = {directory}
default_md = sha256
policy = p
x509_extensions = e
[p]
commonName = supplied
[e]
subjectAltName = URI:suture://node/{number}
extendedKeyUsage = serverAuth, clientAuth
""")
    for words in (["req", "-new", "-key", directory / f"{name}.key", "-subj", f"/CN={name}", "-out", directory / "r.csr"],
                  ["ca", "-batch", "-config", directory / "ca.cnf", "-cert", pki / "ca.pem", "-keyfile", pki / "ca.key",
                   "-in", directory / "r.csr", "-startdate", start, "-enddate", end, "-out", directory / f"{name}.pem", "-notext"]):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return directory


def test_expired_and_not_yet_valid_certificate(host, pki, tmp_path):
    past = expired_copy(pki, tmp_path / "past")
    host.refused(host.configuration(pki=past), "expired at 2020-02-01", "suture pki node", status=78)
    future = expired_copy(pki, tmp_path / "future", start="20900101000000Z", end="20910101000000Z")
    host.refused(host.configuration(pki=future), "valid only from 2090", "clock", status=78)


def test_bad_configuration_is_told_by_line(host):
    config = host.configuration(replace=[("mode: http", "mode: htpp"), ("id: 2\n", "id: 1\n"), ("admin:", "admni:")])
    done = host.run(host.program, "run", "-c", config, "--check-config")
    assert done.returncode == 1
    for line, fragment in ((8, "htpp"), (17, "own id"), (20, "admni")):
        assert any(text.startswith(f"{config}:{line}:") and fragment in text for text in done.stderr.splitlines()), done.stderr
    said = host.refused(config, f"{config}:8:", status=78)
    assert said.count(f"{config}:") == done.stderr.count(f"{config}:")
    assert host.run(host.program, "run", "-c", host.configuration("good.yaml"), "--check-config").returncode == 0


def test_absent_configuration(host, tmp_path):
    host.refused(tmp_path / "absent.yaml", "absent.yaml", "No such file", status=78)
