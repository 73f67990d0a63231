"""The wire: where the two veth pairs of a link meet. Joined by tc redirect; with delay, loss and the like, by netem where the
kernel has it, else by the suture_wire forwarder. Neither end's own device ever changes; a cut shows there as lost carrier."""
import json
import os

from . import procs
from .errors import LabError
from .netns import WIRES
from .system import run, wait_until

DIRECT, EMULATED = 20, 10  # filter priorities: the lower one is asked first
# Packets that a GSO-capable veth would carry as one large one are cut here, before the forwarder draws its lots.
NO_OFFLOAD = ["tso", "off", "gso", "off", "gro", "off", "tx", "off", "sg", "off"]


def _tc(state, *words, check=True):
    return run([*state.engine.enter(WIRES), "tc", *words], check=check)


def _ip_batch(state, lines):
    run([*state.engine.enter(WIRES), "ip", "-batch", "-"], text_in="\n".join(lines) + "\n")


def _devices(state, link):
    return [state.engine.wire_device(link, end) for end in (link.a, link.b)]


def _redirect(state, source, target, priority):
    _tc(state, "filter", "add", "dev", source, "ingress", "prio", str(priority), "protocol", "all",
        "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", target)


def join(state, link):
    """Joins both halves. Called again after one end was made anew."""
    ends = _devices(state, link)
    for device in ends:
        _tc(state, "qdisc", "del", "dev", device, "clsact", check=False)
        _tc(state, "qdisc", "add", "dev", device, "clsact")
    _redirect(state, ends[0], ends[1], DIRECT)
    _redirect(state, ends[1], ends[0], DIRECT)
    emulate_again(state, link)


def emulate_again(state, link):
    """One end is new, and the forwarder (or netem) was bound to the old one."""
    shaped = emulation(state, link)
    if shaped:
        emulate(state, link, {key: value for key, value in shaped.items() if key not in ("by", "devices")})


def sever(state, link):
    """The cable eats every packet, and both ends keep their carrier. join() mends it."""
    for device in _devices(state, link):
        _tc(state, "qdisc", "del", "dev", device, "clsact")


def plug(state, link, up):
    """Pulls the cable, or puts it back: both ends see their carrier go and come."""
    _ip_batch(state, [f"link set {device} {'up' if up else 'down'}" for device in _devices(state, link) if device])


def plugged(state, link):
    for device in _devices(state, link):
        if device is None:
            return False
        shown = run([*state.engine.enter(WIRES), "ip", "-j", "link", "show", device]).stdout
        if "UP" not in json.loads(shown)[0]["flags"]:
            return False
    return True


def _role(link):
    return f"{link.a}-{link.b}"


def _parameters_file(state, link):
    return state.host_dir(WIRES) / f"{_role(link)}.wire"


def emulation(state, link):
    try:
        return json.loads(_parameters_file(state, link).with_suffix(".json").read_text())
    except OSError:
        return None


def emulate(state, link, parameters):
    """parameters: delay, jitter (ms, each direction), loss, reorder (percent), rate (Mbit/s); empty: as new."""
    restore(state, link)
    if not parameters:
        return
    ends = _devices(state, link)
    if None in ends:
        raise LabError(f"the link of {link.a} and {link.b} has an end without power")
    if _netem(state, ends, parameters):
        _remember(state, link, {**parameters, "by": "netem", "devices": ends})
        return
    for device in ends:
        inner, outer = _tap_names(device)
        _ip_batch(state, [f"link add {inner} type veth peer name {outer}", f"link set {inner} up", f"link set {outer} up"])
        for one in (inner, outer):
            run([*state.engine.enter(WIRES), "ethtool", "-K", one, *NO_OFFLOAD])
    words = [f"{key}={parameters[key]}" for key in ("delay", "jitter", "loss", "reorder", "rate") if key in parameters]
    taps = [_tap_names(device)[1] for device in ends]
    ready = state.host_dir(WIRES) / f"{_role(link)}.ready"
    ready.unlink(missing_ok=True)
    procs.spawn(state, WIRES, _role(link),
                [state.engine.wire_program(), f"ready={ready}", *words, f"{taps[0]}:{ends[1]}", f"{taps[1]}:{ends[0]}"], realtime=True)
    if not wait_until(ready.exists, 5):
        raise LabError(f"the wire of {link.a} and {link.b} did not start", state.dir / WIRES / f"{_role(link)}.log")
    _remember(state, link, {**parameters, "by": "suture_wire", "devices": ends})
    for device in ends:
        _tc(state, "qdisc", "add", "dev", device, "clsact", check=False)  # where join() has not been
        _redirect(state, device, _tap_names(device)[0], EMULATED)


def _remember(state, link, parameters):
    _parameters_file(state, link).with_suffix(".json").write_text(json.dumps(parameters))


def restore(state, link):
    """Back to the plain link first; the forwarder then ends once what it still holds is delivered."""
    current = emulation(state, link)
    if current is None:
        return
    _parameters_file(state, link).with_suffix(".json").unlink()
    for device in current["devices"]:
        if current["by"] == "netem":
            _tc(state, "qdisc", "del", "dev", device, "root", check=False)
        else:
            _tc(state, "filter", "del", "dev", device, "ingress", "prio", str(EMULATED), check=False)
    if current["by"] == "netem":
        return
    procs.end(state, WIRES, _role(link), timeout=30)
    for device in current["devices"]:
        run([*state.engine.enter(WIRES), "ip", "link", "del", _tap_names(device)[0]], check=False)


def _tap_names(device):
    return f"i.{device}", f"o.{device}"


def _netem(state, devices, parameters):
    """True if the kernel has netem and now does it. Delay counts for each direction, as with the forwarder."""
    if os.environ.get("SUTURE_LAB_NETEM") == "no":
        return False
    words = []
    if "delay" in parameters or "jitter" in parameters or "reorder" in parameters:
        words += ["delay", f"{parameters.get('delay', 10 if 'reorder' in parameters else 0)}ms"]
        if "jitter" in parameters:
            words.append(f"{parameters['jitter']}ms")
    if "loss" in parameters:
        words += ["loss", f"{parameters['loss']}%"]
    if "reorder" in parameters:
        words += ["reorder", f"{parameters['reorder']}%"]
    if "rate" in parameters:
        words += ["rate", f"{parameters['rate']}mbit"]
    for device in devices:
        if _tc(state, "qdisc", "add", "dev", device, "root", "netem", "limit", "20000", *words, check=False).returncode != 0:
            for one in devices:
                _tc(state, "qdisc", "del", "dev", one, "root", check=False)
            return False
    return True
