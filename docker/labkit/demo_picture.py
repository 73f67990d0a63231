"""docker/lab demo --picture FILE: the tour as one SVG. A row is a session, its marks are the bytes that the capture at the client saw,
their colour the PoP that served them."""
import math
from xml.sax.saxutils import escape

from . import demo_capture

LABEL, RIGHT, ROW, TOP, WIDTH = 178, 14, 17, 112, 1080  # px
BIN = 0.1  # seconds
COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#475569")
RED, GREY, INK = "#dc2626", "#94a3b8", "#0f172a"


class Picture:
    def __init__(self):
        self.scenes = []  # (wall clock, few words)
        self.routes = []  # (wall clock, PoP or None): where the client's packets go

    def scene(self, when, words):
        self.scenes.append((when, words))

    def route(self, when, pop):
        if not self.routes or self.routes[-1][1] != pop:
            self.routes.append((when, pop))

    def draw(self, tour, capture, closing):
        """The file's text. `closing`: what stands below."""
        bins = Bins(capture)
        first, last = bins.first, bins.last
        rows = [(one, flow) for one in tour.sessions if (flow := _flow_of(one, bins.flows))]
        colours = dict(zip(tour.pops, COLOURS))
        scale = (WIDTH - LABEL - RIGHT) / (last - first)
        height = TOP + ROW * len(rows) + 58

        def x(when):
            return LABEL + (min(max(when, first), last) - first) * scale

        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="ui-sans-serif,system-ui,sans-serif" '
               f'font-size="11" fill="{INK}">', f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
        out += self._legend(colours) + self._route_bar(x, last, colours)
        out += self._scene_lines(x, TOP + ROW * len(rows))
        for number, (session, flow) in enumerate(rows):
            out += _row(tour, session, flow, bins, TOP + ROW * number, scale, colours)
        bottom = TOP + ROW * len(rows)
        for second in range(0, int(last - first) + 1, 5):
            out.append(_text(x(first + second), bottom + 16, f"{second} s", "middle", GREY))
        out.append(_text(LABEL, bottom + 42, closing, weight="bold", size=13))
        return "\n".join([*out, "</svg>"]) + "\n"

    def _legend(self, colours):
        out, at = [_text(12, 22, "One client, its sessions, and who served each byte", size=14, weight="bold")], 450
        for pop, colour in colours.items():
            out.append(f'<rect x="{at}" y="12" width="11" height="11" fill="{colour}"/>')
            out.append(_text(at + 16, 22, pop))
            at += 62
        return out

    def _route_bar(self, x, last, colours):
        out = [_text(12, 51, "BGP takes the client to")]
        for (when, pop), (until, _) in zip(self.routes, [*self.routes[1:], (last, None)]):
            width = x(until) - x(when)
            out.append(f'<rect x="{x(when):.1f}" y="40" width="{width:.1f}" height="15" fill="{colours.get(pop, GREY)}"/>')
            if width > 34:
                out.append(_text(x(when) + width / 2, 51.5, pop or "nobody", "middle", "#ffffff"))
        return out

    def _scene_lines(self, x, bottom):
        out = []
        for number, (when, words) in enumerate(self.scenes):
            red = words.startswith("power cut")
            level = 72 + 13 * (number % 3)
            out.append(f'<line x1="{x(when):.1f}" y1="58" x2="{x(when):.1f}" y2="{bottom}" stroke="{RED if red else GREY}" '
                       f'stroke-width="{1.6 if red else 0.8}" stroke-dasharray="{"none" if red else "3 3"}"/>')
            out.append(_text(x(when) + 3, level, words, colour=RED if red else INK, weight="bold" if red else "normal"))
        return out


class Bins:
    """flows: {(family, client port, VIP port): {bin: bytes of data in both directions}}; first, last: packet's time."""

    def __init__(self, capture):
        self.flows, self.first, self.last = {}, None, 0.0
        for when, flow, size in demo_capture.data_packets(capture):
            self.first, self.last = self.first or when, when
            row = self.flows.setdefault(flow, {})
            at = int((when - self.first) / BIN)
            row[at] = row.get(at, 0) + size


def _flow_of(session, flows):
    """Its connection; ssh does not tell its own port, but has one alone."""
    return next((flow for flow in flows if flow[0] == session.family
                 and (flow[1] == session.port if session.port else session.kind == "ssh" and flow[2] == 22)), None)


def _row(tour, session, flow, bins, top, scale, colours):
    heal = tour.heals.get(flow)
    out = [_text(LABEL - 8, top + 11, session.label.replace(" *", ""), "end")]
    cut = (tour.cut_at - bins.first) / BIN
    marks = {}
    for at, size in sorted(bins.flows[flow].items()):
        pop = heal.pop if heal and at >= cut else session.pop
        tall = min(ROW - 4, 2 + 2.2 * math.log10(max(size, 1)))
        marks.setdefault(pop, []).append(f"M{LABEL + (at + 0.5) * BIN * scale:.1f} {top + (ROW - tall) / 2:.1f}v{tall:.1f}")
    for pop, path in marks.items():
        out.append(f'<path d="{"".join(path)}" stroke="{colours.get(pop, GREY)}" stroke-width="{max(BIN * scale - 0.3, 1):.1f}"/>')
    return out


def _text(x, y, words, anchor="start", colour=INK, size=None, weight="normal"):
    more = f' font-size="{size}"' if size else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"{more}>{escape(words)}</text>'
