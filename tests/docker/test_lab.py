"""The lab of containers: LAB.md's verbs, sessions that live through them, Prometheus, nothing left behind."""
import json
import pathlib
import subprocess
import urllib.parse

import pytest
from conftest import LAB, docker
from kit_ea import sessions
from lab import LAB as LAB_PROGRAM
from lab import VIP, wait_until
from labkit import demo_sessions, demo_streams, topology

FAMILIES = pytest.mark.parametrize("family", [4, 6])
POPS = ["pop1", "pop2", "pop3"]
HEALED = [demo_sessions.FileDownload, demo_sessions.KeepAlive, demo_streams.EventStream, demo_streams.Chat]
TRANSFERS = [demo_sessions.FileDownload, demo_sessions.Upload, demo_sessions.WebSocket, demo_streams.EventStream]
PROMETHEUS_SECONDS = 15  # a target is asked every 2 s, and said to be down within 5


@pytest.fixture
def settled(lab):
    """Everything up, clients where they prefer."""
    for pop in POPS:
        lab.run("undrain", pop)
        lab.ok("start", pop)
    for client, pop in (("client1", "pop1"), ("client2", "pop3")):
        lab.ok("switch", client, pop)
    wait_until(lambda: all(lab.metric(one, "suture_peer_caught_up", peer=str(other)) == 1
                           for number, one in enumerate(POPS, 1) for other in (1, 2, 3) if other != number), 30, what="all peers know each other")
    return lab


def who(lab, client, family):
    done = lab.curl(client, "--max-time", "5", lab.url(family, "/who"))
    return json.loads(done.stdout)["pop"] if done.returncode == 0 else None


def ask_prometheus(lab, query):
    """{pop: value} of an instant query, or {"": value} if the result has no such label."""
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": query})
    done = lab.inside("core1", ["curl", "-sS", "--max-time", "5", url])
    answer = json.loads(done.stdout)
    assert answer["status"] == "success", answer
    return {one["metric"].get("pop", ""): float(one["value"][1]) for one in answer["data"]["result"]}


def test_status(settled):
    status = settled.status()
    assert status["engine"] == "docker" and [pop["name"] for pop in status["pops"]] == POPS
    for pop in status["pops"]:
        assert pop["running"] and pop["ready"] and pop["announcing"] and pop["power"]
    assert [(one["name"], one["routed_to"], one["routed_to6"]) for one in status["clients"]] == [
        ("client1", "pop1", "pop1"), ("client2", "pop3", "pop3")]


@FAMILIES
def test_switch_moves_each_client_by_itself(settled, family):
    for first, second in (("pop3", "pop2"), ("pop2", "pop1"), ("pop1", "pop3")):
        settled.ok("switch", "client1", first)
        settled.ok("switch", "client2", second)
        assert (who(settled, "client1", family), who(settled, "client2", family)) == (first, second)


def test_exec_passes_streams_and_status(settled):
    done = subprocess.run([str(LAB_PROGRAM), "exec", "client1", "sh", "-c", "tr a-z A-Z; echo oops >&2; exit 7"],
                          env=settled.environment, input="through", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (7, "THROUGH", "oops\n")
    assert settled.run("exec", "core1", "redis-cli", "-h", topology.REDIS, "ping").stdout.strip() == "PONG"
    assert settled.run("exec", "pop2", "hostname").stdout.strip() == "pop2"


def test_one_s_own_application_at_a_pop(settled):
    """LAB.md: VIP port 9000 leads to whatever one starts there; it dies with the PoP's power."""
    subprocess.run([str(LAB_PROGRAM), "exec", "pop1", "sh", "-c", "python3 -m http.server -b 127.0.0.1 9001 >/dev/null 2>&1 &"],
                   env=settled.environment, check=True, timeout=30, stdin=subprocess.DEVNULL)
    wait_until(lambda: settled.curl("client1", "-o", "/dev/null", "-w", "%{http_code}", settled.url(4, "/", 9000)).stdout == "200", 10,
               what="the application's answer")
    settled.ok("kill", "pop1")
    settled.ok("start", "pop1")
    assert settled.inside("pop1", ["ss", "-Hltn", "sport = :9001"]).stdout == ""


def test_sessions_live_through_switch_flap_and_drain(settled):
    with sessions(settled, seconds=20, kinds=TRANSFERS) as going:
        settled.ok("switch", "client1", "pop3")
        going.heard_again()
        for pop in ("pop2", "pop1", "pop3"):
            settled.ok("switch", "client1", pop)
            going.heard_again()
        settled.ok("switch", "client1", "pop1")
        settled.ok("drain", "pop1")
        going.heard_again()
        assert settled.routed_to("client1") != "pop1"
    going.check("docker: switch, flap, drain")


def test_sessions_live_through_a_power_cut_and_prometheus_agrees(settled):
    wait_until(lambda: ask_prometheus(settled, "up{job='suture'}") == dict.fromkeys(POPS, 1.0), PROMETHEUS_SECONDS, what="all targets up")
    before = sum(ask_prometheus(settled, "sum(suture_heals_total)").values())
    with sessions(settled, seconds=15, kinds=HEALED) as going:
        assert {one.pop for one in going.sessions if one.pop} == {"pop1"}
        demo_streams.wait_quiet(going.sessions)
        settled.ok("kill", "pop1")
        going.heard_again()
        wait_until(lambda: ask_prometheus(settled, "up{pop='pop1'}") == {"pop1": 0.0}, PROMETHEUS_SECONDS, what="pop1's target is down")
    going.check("docker: power cut")
    healed = len(going.sessions)  # every one was pop1's, and lived
    wait_until(lambda: sum(ask_prometheus(settled, "sum(suture_heals_total{pop=~'pop2|pop3'})").values()) - before == healed,
               PROMETHEUS_SECONDS, what=f"Prometheus counts {healed} heals")
    assert sum(ask_prometheus(settled, "sum(suture_heal_failures_total)").values()) == 0
    settled.ok("start", "pop1")
    wait_until(lambda: ask_prometheus(settled, "up{job='suture'}") == dict.fromkeys(POPS, 1.0), PROMETHEUS_SECONDS, what="all targets up")


def test_crash_freeze_and_stop(settled):
    settled.ok("crash", "pop1")
    wait_until(lambda: settled.routed_to("client1") == "pop2" and settled.routed_to("client1", 6) == "pop2")
    settled.ok("start", "pop1")
    wait_until(lambda: who(settled, "client1", 4) == "pop1")
    settled.ok("freeze", "pop1")
    assert settled.admin("pop1", "/healthz")[0] == 0
    settled.ok("thaw", "pop1")
    wait_until(lambda: settled.admin("pop1", "/readyz")[0] == 200)
    settled.ok("stop", "pop1", "--wait")
    assert not settled.pop("pop1")["running"]
    state = json.loads(docker("inspect", "-f", "{{json .State}}", container("pop1-suture")).stdout)
    assert state["ExitCode"] == 0, "a drained suture ends with 0"
    settled.ok("start", "pop1")


def test_cut_and_mend(settled):
    def pings(address):
        return settled.run("exec", "pop1", "ping", "-c1", "-W1", address).returncode == 0
    settled.ok("cut", "pop3", "pop1")
    assert not pings("198.18.0.3") and not pings("fd00:5::3") and pings("198.18.0.2")
    settled.ok("mend", "pop1", "pop3")
    assert pings("198.18.0.3") and pings("fd00:5::3")


def test_link_delays_and_is_as_new_again(settled):
    def ping():
        out = settled.run("exec", "client1", "ping", "-q", "-i", "0.01", "-c5", "-W1", VIP[4]).stdout
        return float(out.split(" = ")[1].split("/")[0])
    settled.ok("link", "client1", "--delay", "30")
    assert 60 <= ping() < 120
    settled.ok("link", "client1")
    assert ping() < 10
    assert all(link["emulation"] is None and link["up"] for link in settled.status()["links"])


def test_logs_and_capture(settled):
    assert "started" in settled.ok("logs", "pop2")
    with settled.capture("client1", "tcp") as capture:
        assert who(settled, "client1", 4) and who(settled, "client1", 6)
    assert sorted((family, port) for family, _, port in capture.flows()) == [(4, 80), (6, 80)]
    assert capture.resets() == 0


def test_two_containers_with_one_node_id(settled):
    """The second says so on its last line and ends with 78; the first goes on."""
    settled.ok("stop", "pop3", "--now")
    rogue = settled.state.dir / "pop3" / "rogue.yaml"
    text = (settled.state.dir / "pop3" / "suture.yaml").read_text().replace("  id: 3\n", "  id: 2\n", 1).replace("/pki/pop3.", "/pki/pop2.")
    lines = text.splitlines()
    at = lines.index("  - id: 2")  # a node does not list itself
    rogue.write_text("\n".join(lines[:at] + lines[at + 4:]) + "\n")
    capabilities = json.loads(docker("inspect", "-f", "{{json .HostConfig.CapAdd}}", container("pop3-suture")).stdout)
    words = [word for name in capabilities for word in ("--cap-add", name)]
    done = docker("run", "--rm", "--network", f"container:{container('pop3')}", "--cap-drop", "ALL", *words, "--device", "/dev/net/tun",
                  "-v", f"{settled.state.dir}:{settled.state.dir}", "suture", "run", "-c", rogue)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 78 and "two nodes must not share an id" in last and "give each node a node.id" in last, done.stderr[-2000:]
    assert settled.metric("pop1", "suture_peer_up", peer="2") == 1
    settled.ok("start", "pop3")


def container(service):
    return docker("ps", "-aq", "--filter", f"label=com.docker.compose.project=suture-{LAB}", "--filter",
                  f"label=com.docker.compose.service={service}").stdout.strip()


def test_health_is_told_to_docker(settled):
    for pop in POPS:
        wait_until(lambda pop=pop: docker("inspect", "-f", "{{.State.Health.Status}}", container(f"{pop}-suture")).stdout.strip() == "healthy",
                   40, 1, f"{pop}-suture healthy")


def test_zz_down_leaves_nothing(lab):
    """Last in this file: the lab goes."""
    lab.ok("down")
    of_lab = ["--filter", f"label=com.docker.compose.project=suture-{LAB}", "-q"]
    for words in (["ps", "-a"], ["network", "ls"], ["volume", "ls"]):
        assert docker(*words, *of_lab).stdout == ""
    for root in ("/run/suture-lab", "/var/tmp/suture-lab"):
        assert not (pathlib.Path(root) / LAB).exists()
    assert docker("image", "inspect", "suture").returncode == 0, "images are kept"
