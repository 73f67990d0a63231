"""docker/lab demo: a guided tour. Sessions of every kind are open while their client's route moves, a PoP that holds some of
them loses power, and the owner of the others drains."""
import json
import pathlib
import signal
import sys
import threading
import time

from . import demo_capture, demo_picture, demo_powercut, demo_sessions, demo_streams, lifecycle, procs, routes, suture, verbs
from .errors import LabError
from .system import run, wait_until

CLIENT = "client1"
TOUR_SECONDS = 28  # what the scenes below take; paced transfers last a little longer
PACED_SECONDS = TOUR_SECONDS + 4
HEAL_SECONDS = 10  # of all sessions of the PoP that lost power
END_SECONDS = 25   # what is not over by then has failed


def demo(state, args):
    ours = not (args.keep and state.exists())
    if ours:
        print("building the lab ...", flush=True)
        started = time.monotonic()
        with state.lock():
            lifecycle.up(state, args.pops, args.config, args.strict_rpf, args.engine, say=print)
        print(f"up in {time.monotonic() - started:.1f} s: {args.pops} PoPs, BGP, nginx, sshd and suture at each\n", flush=True)
    else:
        _bring_back(state)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if Tour(state, args.picture).run() else 1
    finally:
        if ours and not args.keep:
            with state.lock():
                lifecycle.down(state)


def _bring_back(state):
    """What a former demo or verb ended in a lab that was kept."""
    topo = state.topology()
    for pop in topo.pops():
        if suture.stopping(state, pop.name) or not suture.running(state, pop.name):
            with state.lock():
                lifecycle.start(state, topo, pop.name, say=print)
    for client, pop in state.load()["preference"].items():
        lifecycle.wait_routed(state, topo, client, pop)


class Screen:
    """Plain lines, good in a log; colour only on a terminal."""
    COLOURS = {"bold": "1", "green": "32", "red": "31", "dim": "2"}

    def __init__(self):
        self.start = time.monotonic()
        self._tty = sys.stdout.isatty()

    def paint(self, text, colour):
        return f"\033[{self.COLOURS[colour]}m{text}\033[0m" if self._tty else text

    def line(self, text, colour=None):
        print(self.paint(text, colour) if colour else text, flush=True)

    def scene(self, text):
        self.line(f"[{time.monotonic() - self.start:5.1f} s] {text}", "bold")


class Observer(threading.Thread):
    """Once a second: where the client is routed, who owns how many sessions, who forwards, and the longest stall so far."""

    def __init__(self, tour):
        super().__init__(daemon=True)
        self.tour, self.done = tour, threading.Event()
        self.forwarded = {}

    def forwarded_packets(self, pop):
        try:
            done = run([*self.tour.state.engine.enter(pop), "ip", "-j", "-s", "link", "show", "suture-vx"], check=False)
            return json.loads(done.stdout)[0]["stats64"]["tx"]["packets"]
        except (LabError, ValueError, LookupError):  # nothing there, or no power
            return 0

    def run(self):
        names = [pop.name for pop in self.tour.topo.pops()]
        self.forwarded = {pop: self.forwarded_packets(pop) for pop in names}
        before = time.monotonic()
        while not self.done.wait(1):
            owns, forwards = [], []
            now = time.monotonic()
            for pop in names:
                sessions = (suture.stats(self.tour.state, pop) or {}).get("active_sessions", 0)
                if sessions:
                    owns.append(f"{pop} {sessions}")
                packets = self.forwarded_packets(pop)
                rate = (packets - self.forwarded[pop]) / (now - before)
                self.forwarded[pop] = packets
                if rate >= 1:
                    forwards.append(f"{pop} {rate:.0f}/s")
            before = now
            route = routes.routed_to(self.tour.state, self.tour.topo, CLIENT, 4)
            self.tour.picture.route(time.time(), route)
            worst = max(self.tour.sessions, key=lambda one: one.stall)
            living = sum(not one.ended or one.good for one in self.tour.sessions)
            self.tour.screen.line(f"          {CLIENT} -> {route or 'nobody':6} sessions: {living}/{len(self.tour.sessions)}  "
                                  f"owns: {', '.join(owns) or 'nobody':18} forwards: {', '.join(forwards) or '-':22} "
                                  f"longest stall: {worst.stall * 1000:.0f} ms ({worst.label})")


class Tour:
    def __init__(self, state, picture_path=None):
        self.state, self.topo, self.screen = state, state.topology(), Screen()
        self.picture, self.picture_path = demo_picture.Picture(), picture_path
        self.finish = threading.Event()
        self.sessions = demo_sessions.make(state, CLIENT, PACED_SECONDS, self.finish)
        self.owner = self.victim = None
        self.cut_at = 0.0  # wall clock, as the logs
        self.heals, self.pops = {}, [pop.name for pop in self.topo.pops()]

    def run(self):
        capture = demo_capture.Capture(self.state, CLIENT, self.topo.core_of(CLIENT))
        observer = Observer(self)
        try:
            self._open()
            observer.start()
            self._scenes()
            end_of_tour = time.time()
            self._close()
        finally:
            self.finish.set()
            observer.done.set()
            for session in self.sessions:
                session.abort()
            capture.stop()
        return self._report(capture, end_of_tour)

    def _open(self):
        self.owner = routes.routed_to(self.state, self.topo, CLIENT, 4)
        if self.owner is None:
            raise LabError(f"{CLIENT} is routed to no PoP")
        self.screen.scene(f"{CLIENT} opens {len(self.sessions)} sessions to the VIP, IPv4 and IPv6; BGP takes them to {self.owner}")
        self.picture.route(time.time(), self.owner)
        self._start(self.sessions, self.owner)

    def _start(self, sessions, pop):
        for session in sessions:
            session.start()
        for session in sessions:
            if not session.started.wait(10):
                raise LabError(f"{session.label}: no answer from the VIP", suture.log_path(self.state, pop))
            if session.error:
                raise LabError(f"{session.label}: {session.error}", suture.log_path(self.state, pop))

    def _move(self, pop):
        with self.state.lock():
            verbs._switch(self.state, self.topo, CLIENT, pop)
        self.picture.route(time.time(), pop)

    def _scenes(self):
        others = [pop for pop in self.pops if pop != self.owner]
        time.sleep(3)
        self.screen.scene(f"switch: BGP moves {CLIENT} from {self.owner} to {others[-1]}, in the middle of everything")
        self.picture.scene(time.time(), "switch")
        self._move(others[-1])
        time.sleep(3)
        self.picture.scene(time.time(), "and back")
        self.screen.scene(f"switch back to {self.owner}")
        self._move(self.owner)
        time.sleep(3)
        self.screen.scene("flap: another PoP every 2 s for 6 s")
        self.picture.scene(time.time(), "flap")
        ring = [others[-1], self.owner, others[0]]
        due = time.monotonic()
        for step in range(3):
            self._move(ring[step])
            due += 2
            time.sleep(max(0.0, due - time.monotonic()))
        self._power_cut(others[0])
        if len(others) > 1:  # somebody must be left to announce the address
            self._drain()

    def _power_cut(self, victim):
        self.victim = victim
        orders = demo_powercut.start_applications(self.state, self.topo)
        left = max(8.0, PACED_SECONDS - (time.monotonic() - self.screen.start))
        doomed = demo_powercut.make(self.state, CLIENT, left, self.finish, victim, orders)
        self.screen.scene(f"{CLIENT} opens {len(doomed)} sessions more; BGP takes them to {victim}")
        self._start(doomed, victim)
        self.sessions += doomed
        if not wait_until(lambda: demo_powercut.passed_on(orders, doomed), 5, 0.05):
            raise LabError(f"the orders have not reached {victim}'s application", suture.log_path(self.state, victim))
        time.sleep(1.5)  # so much of every download
        demo_streams.wait_quiet(doomed)
        self.screen.scene(f"power cut: {victim} loses its links and every process, in the middle of them")
        cut_at = self.cut_at = time.time()
        self.picture.scene(cut_at, f"power cut of {victim}")
        for session in doomed:
            session.cut_at = time.monotonic()
        with self.state.lock():
            lifecycle.kill(self.state, self.topo, victim)
        survivors = [pop for pop in self.pops if pop != victim]
        wait_until(lambda: len(demo_powercut.heals(self.state, survivors, cut_at)) >= len(doomed), HEAL_SECONDS, 0.1)
        self.heals = demo_powercut.heals(self.state, survivors, cut_at)
        seen = demo_powercut.noticed(self.state, survivors, self.topo.hosts[victim].number, cut_at)
        for line in demo_powercut.tell(seen, self.heals, cut_at):
            self.screen.line(f"          {line}")
        time.sleep(3)

    def _drain(self):
        self.screen.scene(f"SIGTERM of the owner: {self.owner} withdraws its route, takes nobody new, "
                          "and goes on serving its sessions")
        self.picture.scene(time.time(), f"SIGTERM: {self.owner} drains")
        suture.request_stop(self.state, self.owner)
        lifecycle.wait_withdrawn(self.state, self.topo, self.owner)
        self.screen.line(f"          the core routers have dropped {self.owner}'s route; "
                         f"{CLIENT} -> {routes.routed_to(self.state, self.topo, CLIENT, 4)}")
        time.sleep(4)

    def _close(self):
        self.screen.scene("the clients finish: transfers to their end, idle connections speak once more on the same socket")
        self.picture.scene(time.time(), "the clients finish")
        self.finish.set()
        deadline = time.monotonic() + END_SECONDS
        for session in self.sessions:
            session.join(max(0.0, deadline - time.monotonic()))
            if session.is_alive():
                session.error = session.error or f"no end within {END_SECONDS} s"
        if not suture.stopping(self.state, self.owner):
            return
        gone = procs.gone(procs.pid_of(self.state, self.owner, "suture"), 10)
        self.screen.line(f"          {self.owner}'s suture " + ("has ended, as its last session has" if gone else "is still there"))

    def _report(self, capture, end_of_tour):
        flows = demo_capture.read(capture.path)
        resets = sum(len(flow.resets) for flow in flows.values())
        self.heals.update(demo_powercut.heals(self.state, [pop for pop in self.pops if pop != self.victim], self.cut_at))
        asked_for = set()  # connections that ended with a clean error
        of_session = {}
        for key, flow in flows.items():
            for session in self.sessions:
                if (session.family, session.port) == key[:2]:
                    session.stall = max(session.stall, {"upload": flow.ack_wait, "download": flow.data_wait}.get(session.kind, 0))
                    of_session[session] = self.heals.get(key)
                    if session.clean_end:
                        asked_for.add(key)
        fins = demo_capture.unexpected_fins({key: flow for key, flow in flows.items() if key not in asked_for}, end_of_tour)
        line = self.screen.line
        line("")
        line(f"{'session':24}{'served by':14}{'bytes checked':>15}{'longest stall':>15}  outcome", "bold")
        for session in self.sessions:
            heal = of_session.get(session)
            by = f"{session.pop or '?'} > {heal.pop}" if heal else session.pop or "?"
            line(f"{session.label:24}{by:14}{session.bytes:15,}{session.stall * 1000:12.0f} ms  "
                 + self.screen.paint(self._outcome(session, heal), "green" if session.good else "red"))
        line(f"* at {self.victim} when it lost power; how each kind is healed: docs/healing.md", "dim")
        packets = sum(flow.packets for flow in flows.values())
        line(f"capture at {CLIENT}: {packets:,} packets in {len(flows)} connections, {resets} RST and {fins} unexpected FIN "
             f"from the VIP" + (f", {capture.dropped()} not captured" if capture.dropped() else ""))
        ended = [session for session in self.sessions if session.clean_end]
        if ended:
            line(f"{len(ended)} unanswered POSTs: executed once, told 503, as the rules say: nobody may send them twice")
        wanted = [session for session in self.sessions if not session.clean_end]
        healed = sum(session.good for session in wanted)
        wrong = sum(session.wrong for session in self.sessions)
        alive = healed == len(wanted) and resets == 0 and fins == 0 and wrong == 0
        closing = f"{healed} of {len(wanted)} sessions healed, {resets} resets, {wrong} wrong bytes"
        line(closing, "green" if alive else "red")
        if self.picture_path:
            pathlib.Path(self.picture_path).write_text(self.picture.draw(self, capture.path, closing))
        return alive

    @staticmethod
    def _outcome(session, heal):
        if not session.good:
            why = session.error or f"{session.wrong} wrong bytes"
            return f"LOST: {why}" + (f" ({heal.rung}: {heal.reason})" if heal and heal.reason else "")
        if session.clean_end:
            return f"ended clean: {session.clean_end}" + (f" ({heal.reason})" if heal else "")
        return (f"healed: {heal.rung}" if heal else "lived") + (f"; {session.told}" if session.told else "")
