"""BIRD of docker/sidecar/compose.yml. A network that Docker has made, and that is somebody else's at a PoP (suture's): addresses and
devices are taken as they are. Environment:

  AS           this router's number
  NEIGHBOURS   NAME=AS@IPV4@IPV6 ...; at a core the first is preferred
  VIPS         IPV4,IPV6, as suture has them
"""
import ipaddress
import json
import os
import pathlib
import re

from . import bird, procs, topology
from .errors import LabError
from .system import run, wait_until

DIR = pathlib.Path("/run/bird")  # where birdc looks for bird.ctl
ADDRESS_SECONDS = 10


def neighbours():
    found = []
    for word in os.environ["NEIGHBOURS"].split():
        match = re.fullmatch(r"([a-z]\w*)=(\d+)@([\d.]+)@([\da-f:]+)", word)
        if not match:
            raise LabError(f"NEIGHBOURS: '{word}' is no NAME=AS@IPV4@IPV6, e.g. edge=65100@198.51.100.9@2001:db8:51:1::9")
        found.append(dict(zip(("peer", "peer_asn", "remote4", "remote6"), match.groups())))
    return found


def addresses():
    """[(device, interface address)] of what leads out of here; none while one of them is still looked for elsewhere (IPv6)."""
    shown = [(one["ifname"], address) for one in json.loads(run(["ip", "-j", "addr"]).stdout) for address in one.get("addr_info", ())]
    if any(address.get("tentative") for _, address in shown):
        return []
    return [(device, ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}"))
            for device, address in shown if device != "lo" and address["scope"] == "global"]


def beside(neighbour, here):
    """(device, our IPv4 address, our IPv6 address) in the network of a neighbour; None if one is missing (still)."""
    found = {}
    for device, address in here:
        for remote in (neighbour["remote4"], neighbour["remote6"]):
            if ipaddress.ip_address(remote) in address.network:
                found[address.version] = (device, str(address.ip))
    return (found[4][0], found[4][1], found[6][1]) if len(found) == 2 else None


def bgp(kind):
    if kind not in ("core", "pop"):
        raise LabError(f"bgp {kind}: wanted core or pop")
    peers = neighbours()

    def own_addresses():
        here = addresses()
        found = [beside(one, here) for one in peers]
        return (found, here) if all(found) else None
    ready = wait_until(own_addresses, ADDRESS_SECONDS, 0.1)
    if not ready:
        raise LabError(f"none of {', '.join(str(address) for _, address in addresses())} is in the network of each of NEIGHBOURS")
    found, here = ready
    for one, (_, local4, local6) in zip(peers, found):
        one |= {"local4": local4, "local6": local6, "export": bird.EXPORT_TO_POPS, "add_paths": ""}
    served = [(device, address) for device, address in here if device not in [device for device, _, _ in found]]
    own = {version: next((str(address.ip) for _, address in served if address.version == version), found[0][version // 2 - 1])
           for version in (4, 6)}
    vip4, vip6 = os.environ["VIPS"].split(",")
    DIR.mkdir(parents=True, exist_ok=True)
    values = {"log": "/dev/stderr", "router_id": own[4], "vip4": vip4, "vip6": vip6, "table": topology.ROUTE_TABLE,
              "addr4": own[4], "addr6": own[6], "asn": os.environ["AS"], "prefer": DIR / "prefer.conf", "other_table": bird.OTHER_TABLE,
              "served": ", ".join(sorted({f'"{device}"' for device, _ in served})) or '"lo"'}
    (DIR / "bird.conf").write_text(bird.config_text(kind, values, peers))
    write_preference(peers[0])
    if kind == "core":
        for family in ("-4", "-6"):  # Docker's way to the outside: nothing that is meant for a PoP goes there
            run(["ip", family, "route", "flush", "exact", "default"], check=False)
    procs.make_realtime()
    os.execvp("bird", ["bird", "-f", "-c", str(DIR / "bird.conf"), "-s", str(DIR / "bird.ctl")])


def write_preference(peer):
    (DIR / "prefer.conf").write_text(bird.preference_text(peer["peer_asn"], peer["peer_asn"]))


def prefer(name):
    peer = next((one for one in neighbours() if one["peer"] == name), None)
    if peer is None:
        raise LabError(f"prefer {name}: no such neighbour")
    write_preference(peer)
    answer = run(["birdc", "configure"]).stdout
    if not re.search(r"Reconfigur(ed|ation)", answer):
        raise LabError(f"BIRD refused its configuration: {answer.strip()}")
