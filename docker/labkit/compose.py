"""docker/compose.yml: the topology as a Compose file. `docker/lab compose [--pops N]` prints it; the copy in the tree is for three
PoPs, and a test compares the two. Names, addresses and networks are topology.py's."""
from .topology import Topology

HEAD = '''# The lab as a Compose file (LAB.md's topology; docker-compose 1.29 and Compose v2 read it):
#
#   client1 - core1 --- core2 - client2     a PoP is three containers in one network: popN (its router), popN-suture, popN-app
#              |  \\   /  |                  Redis and Prometheus (http://127.0.0.1:9090) live at core1
#            pop1  pop2  pop3
#
#   docker/build && docker-compose -f docker/compose.yml up            or, with all of LAB.md's verbs:
#   docker/lab up --engine docker
#
#   docker-compose -f docker/compose.yml exec client1 curl http://203.0.113.10/who
#
# Written by `docker/lab compose` from docker/labkit/topology.py: change that one. One network per link, all addresses fixed. A
# container finds its devices by their addresses and names them after the host at the other end (docker/labkit/inside.py).
#
# Environment (all optional; docker/lab sets the first five):
#   SUTURE_LAB            the lab's name: lab
#   SUTURE_LAB_DIR        a directory of the host for configurations, keys and logs, instead of the volume `lab`
#   SUTURE_CAP_BPF, SUTURE_CAP_PERFMON
#                         what suture's eBPF programs need. Engines that know the capabilities take BPF and PERFMON; Docker 20.10
#                         does not ("unknown capability"), and needs SYS_ADMIN, which is the default here. (Compose refuses a
#                         list with the same word twice; so the second one's default is a word that gives nothing here.)
#   SUTURE_TAG            of the images: latest
#   SUTURE_BASE           the base image, where compose builds them: debian:bookworm-slim
#   SUTURE_PROMETHEUS     where Prometheus is published: 127.0.0.1:9090

x-lab: &lab
  image: suture-lab:${SUTURE_TAG:-latest}
  build: {context: .., dockerfile: docker/Dockerfile, target: lab, args: &args {BASE: "${SUTURE_BASE:-debian:bookworm-slim}"}}
  environment: {SUTURE_LAB: "${SUTURE_LAB:-lab}"}
  volumes: &volumes
    - ${SUTURE_LAB_DIR:-lab}:/run/suture-lab/${SUTURE_LAB:-lab}
    - files:/var/tmp/suture-lab/${SUTURE_LAB:-lab}
  init: true
  logging: &logging {driver: json-file, options: {max-size: 50m, max-file: "2"}}
  stop_grace_period: 1s

# Routers and clients name their devices and set routes; BFD keeps time in tens of milliseconds.
x-router: &router
  <<: *lab
  cap_add: [NET_ADMIN, SYS_NICE]
  depends_on: {prepare: {condition: service_completed_successfully}}

x-client: &client
  <<: *lab
  cap_add: [NET_ADMIN]
  sysctls: &end
    # conf.default is for devices made later, suture's among them: /proc/sys is read-only inside.
    net.ipv4.conf.all.rp_filter: 0
    net.ipv4.conf.default.rp_filter: 0
    net.ipv6.conf.all.disable_ipv6: 0
    net.ipv6.conf.default.disable_ipv6: 0
    net.ipv6.conf.all.accept_ra: 0
    net.ipv6.conf.default.accept_ra: 0
    net.ipv6.conf.default.accept_dad: 0

x-core: &core
  <<: *router
  sysctls:
    <<: *end
    net.ipv4.ip_forward: 1
    net.ipv6.conf.all.forwarding: 1

x-pop: &pop
  <<: *router
  sysctls:
    <<: *end
    net.ipv4.conf.default.forwarding: 1
    net.ipv6.flowlabel_reflect: 1

x-app: &app
  <<: *lab

x-suture: &suture
  image: suture:${SUTURE_TAG:-latest}
  build: {context: .., dockerfile: docker/Dockerfile, target: runtime, args: *args}
  cap_drop: [ALL]
  # DAC_OVERRIDE: only where the host's /dev/net/tun is root's alone (mode 600); suture is not root.
  cap_add: [NET_ADMIN, NET_RAW, NET_BIND_SERVICE, SYS_NICE, DAC_OVERRIDE, "${SUTURE_CAP_BPF:-SYS_ADMIN}", "${SUTURE_CAP_PERFMON:-KILL}"]
  devices: [/dev/net/tun]
  volumes: *volumes
  logging: *logging
  ulimits: {nofile: 20000}
  stop_grace_period: 65s  # drain_ms and a little

'''
LAB_DIR = "/run/suture-lab/${SUTURE_LAB:-lab}"


def _health(host, condition):
    return [f'    healthcheck: {{test: "birdc -s {LAB_DIR}/{host}/bird.ctl {condition}", interval: 3s, timeout: 3s, retries: 20}}']


def _networks(host, more=()):
    lines = ["    networks:"]
    for link in host.links:
        lines.append(f"      {network(link)}: {{ipv4_address: {link.addr4[host.name]}, ipv6_address: \"{link.addr6[host.name]}\"}}")
    return lines + [f"      {one}: {{}}" for one in more]


def network(link):
    return f"{link.a}-{link.b}"


def containers(pop):
    """A PoP's services, in the order of their start."""
    return [pop, f"{pop}-app", f"{pop}-suture"]


def _services(topo):
    lines = ["services:",
             "  # Certificates, keys, configurations and the files that nginx serves: once, what is not there yet.",
             "  prepare:", "    <<: *lab", f"    command: [prepare, \"{len(topo.pops())}\"]", "    network_mode: none", ""]
    for core in topo.cores():
        outside = ["outside"] if core.name == "core1" else []
        lines += [f"  {core.name}:", "    <<: *core", f"    hostname: {core.name}", f"    command: [router, {core.name}]"]
        lines += _networks(core, outside) + _health(core.name, "show status")
        if outside:
            lines.append('    ports: ["${SUTURE_PROMETHEUS:-127.0.0.1:9090}:9090"]')
        lines.append("")
    lines += ["  redis:", "    <<: *app", "    network_mode: service:core1", "    command: [redis]",
              "    depends_on: {core1: {condition: service_healthy}}", ""]
    lines += ["  prometheus:", "    image: suture-prometheus:${SUTURE_TAG:-latest}",
              "    build: {context: .., dockerfile: docker/Dockerfile, target: prometheus, args: *args}",
              "    network_mode: service:core1", "    volumes: [\"${SUTURE_LAB_DIR:-lab}:/run/suture-lab:ro\"]", "    logging: *logging",
              "    depends_on: {core1: {condition: service_healthy}}", ""]
    for pop in topo.pops():
        lines += [f"  {pop.name}:", "    <<: *pop", f"    hostname: {pop.name}", f"    command: [router, {pop.name}]"]
        lines += _networks(pop) + _health(pop.name, "show protocols | grep -q Established")
        lines += [f"  {pop.name}-app:", "    <<: *app", f"    network_mode: service:{pop.name}", f"    command: [app, {pop.name}]",
                  f"    depends_on: {{{pop.name}: {{condition: service_healthy}}}}"]
        lines += [f"  {pop.name}-suture:", "    <<: *suture", f"    network_mode: service:{pop.name}",
                  f"    command: [run, -c, \"{LAB_DIR}/{pop.name}/suture.yaml\"]",
                  f"    depends_on: {{{pop.name}: {{condition: service_healthy}}, {pop.name}-app: {{condition: service_started}}}}", ""]
    for client in topo.clients():
        lines += [f"  {client.name}:", "    <<: *client", f"    hostname: {client.name}", f"    command: [client, {client.name}]"]
        lines += _networks(client)
        lines += [f"    depends_on: {{{topo.core_of(client.name)}: {{condition: service_healthy}}}}", ""]
    return lines


def _network_definitions(topo):
    lines = ["# The host's own address in each network (gateway) is not used: containers drop Docker's default route. Packets with addresses",
             "# of other networks pass these bridges, so the engine must neither masquerade nor (newer ones) refuse to route them.",
             "networks:", "  outside: {}  # for Prometheus's published port"]
    for link in topo.links:
        four, six = link.nets()
        lines += [f"  {network(link)}:", "    enable_ipv6: true", "    driver: bridge", "    driver_opts: *options" if link is not topo.links[0]
                  else '    driver_opts: &options\n      com.docker.network.bridge.enable_ip_masquerade: "false"\n'
                       '      com.docker.network.bridge.gateway_mode_ipv4: routed\n      com.docker.network.bridge.gateway_mode_ipv6: routed\n'
                       '      com.docker.network.driver.mtu: "1500"',
                  "    ipam:", "      config:", f"        - {{subnet: {four}, gateway: {four.broadcast_address - 1}}}",
                  f"        - {{subnet: \"{six}\", gateway: \"{six.network_address + 0xfffe}\"}}"]
    return lines


def text(pops=3):
    topo = Topology(pops)
    return HEAD + "\n".join([*_services(topo), *_network_definitions(topo), "", "volumes: {lab: {}, files: {}}", ""])
