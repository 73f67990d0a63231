"""The command line: LAB.md's verbs and what they take. 2 for a wrong command, 1 where the lab could not do it."""
import argparse
import sys

from . import lifecycle, verbs
from .errors import LabError, UsageError
from .state import State


def _parser():
    parser = argparse.ArgumentParser(prog="docker/lab", description="A small internet on one machine, with PoPs that run Suture.",
                                     epilog="SUTURE_LAB names the lab (default: lab); SUTURE_BIN a suture binary other than "
                                            "the release build.")
    sub = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name, run, text):
        one = sub.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    one = verb("up", verbs.up, "build the lab; returns when every PoP is ready")
    _up_options(one)
    one = verb("status", verbs.status, "hosts, addresses, listeners, who announces, where each client is routed")
    one.add_argument("--json", action="store_true")
    one = verb("exec", verbs.execute, "run a command in a host")
    one.add_argument("host")
    one.add_argument("command", nargs=argparse.REMAINDER)
    one = verb("switch", verbs.switch, "BGP at the client's router now prefers POP; returns when the route has moved")
    one.add_argument("client")
    one.add_argument("pop")
    one = verb("flap", verbs.flap, "switch to the next PoP every SECONDS until interrupted")
    one.add_argument("client")
    one.add_argument("seconds", type=float)
    for name, run, text in (
            ("kill", verbs.kill, "power cut: links down, then every process of the PoP SIGKILLed"),
            ("crash", verbs.crash, "SIGKILL of suture alone"),
            ("freeze", verbs.freeze, "SIGSTOP of suture"),
            ("thaw", verbs.thaw, "SIGCONT of suture"),
            ("drain", verbs.drain, "withdraw the route, keep the sessions"),
            ("undrain", verbs.undrain, "announce again"),
            ("start", verbs.start, "(re)start whatever is down; returns when the PoP is ready")):
        verb(name, run, text).add_argument("pop")
    one = verb("stop", verbs.stop, "SIGTERM of suture; returns when the route is withdrawn, while its sessions go on")
    one.add_argument("pop")
    one.add_argument("--wait", action="store_true", help="return when the process has ended")
    one.add_argument("--now", action="store_true", help="a second SIGTERM: end without waiting for the sessions")
    for name, run, text in (("cut", verbs.cut, "a black hole between two PoPs' underlay addresses"),
                            ("mend", verbs.mend, "takes the cut away")):
        one = verb(name, run, text)
        one.add_argument("a")
        one.add_argument("b")
    one = verb("link", verbs.link, "shape the host's access link, each direction alike; no option: as new")
    one.add_argument("host")
    for name, unit in (("delay", "MS"), ("jitter", "MS"), ("loss", "PCT"), ("reorder", "PCT"), ("rate", "MBIT")):
        one.add_argument(f"--{name}", type=_at_least_zero(UNITS[unit]), metavar=unit)
    one = verb("logs", verbs.logs, "suture's log")
    one.add_argument("pop")
    one.add_argument("-f", "--follow", action="store_true")
    one = verb("capture", verbs.capture, "packet capture of the host's access link until interrupted")
    one.add_argument("host")
    one.add_argument("file")
    one.add_argument("filter", nargs="*", help="a pcap filter expression")
    one = verb("demo", verbs.demo, "up, a guided tour that shows sessions healed, down")
    _up_options(one)
    one.add_argument("--keep", action="store_true", help="leave the lab up in the end; use one that is up")
    one.add_argument("--picture", metavar="FILE", help="draw the tour as SVG, from the capture at the client")
    one = verb("compose", verbs.write_compose, "print docker/compose.yml, which this program is the source of")
    one.add_argument("--pops", type=int, default=3, metavar="N")
    verb("down", verbs.down, "leaves nothing behind; also after a crash of the lab itself")
    return parser


def _up_options(parser):
    parser.add_argument("--engine", choices=["netns", "docker"], default="netns")
    parser.add_argument("--pops", type=int, default=3, metavar="N")
    parser.add_argument("--config", metavar="FILE", help="YAML merged into every PoP's suture configuration "
                                                         "(below a key popN: into that PoP's only)")
    parser.add_argument("--strict-rpf", action="store_true", help="strict reverse-path checks at the core routers, "
                                                                  "and return_path tunnel")


UNITS = {"MS": "in ms", "PCT": "in percent", "MBIT": "in Mbit/s"}


def _at_least_zero(unit):
    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not 0 <= value < 1e6:
            raise argparse.ArgumentTypeError(f"'{text}': a number, 0 or more, {unit}")
        return int(value) if value == int(value) else value
    return number


def main(argv):
    args = _parser().parse_args(argv)
    try:
        return args.run(State(), args)
    except UsageError as error:
        print(f"docker/lab: {error}", file=sys.stderr)
        return 2
    except LabError as error:
        tail = lifecycle.log_tail(error.log) if error.log else ""
        print(f"docker/lab: {error}{tail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("docker/lab: interrupted", file=sys.stderr)
        return 130
