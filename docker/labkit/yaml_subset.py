"""The part of YAML that configurations need, for a lab that has the standard library only: block mappings and lists, comments,
plain and quoted scalars, [flow, lists] and {flow: mappings} on one line. Anything else is refused, with its line."""
import json
import re

from .errors import UsageError


def load(text, name):
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = _strip_comment(raw)
        if line.strip() and line.strip() != "---":
            if "\t" in line[:len(line) - len(line.lstrip())]:
                raise UsageError(f"{name}:{number}: tabs cannot indent")
            lines.append((number, len(line) - len(line.lstrip()), line.strip()))
    reader = _Reader(lines, name)
    value = reader.block(0) if lines else {}
    if reader.at < len(lines):
        raise UsageError(f"{name}:{lines[reader.at][0]}: unexpected indentation")
    return value


def _strip_comment(line):
    quote = None
    for at, char in enumerate(line):
        if quote:
            quote = None if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].rstrip()
    return line.rstrip()


class _Reader:
    def __init__(self, lines, name):
        self.lines, self.name, self.at = lines, name, 0

    def block(self, indent):
        _, here, text = self.lines[self.at]
        if here < indent:
            return None
        return self.sequence(here) if re.match(r"-(\s|$)", text) else self.mapping(here)

    def sequence(self, indent):
        items = []
        while self.at < len(self.lines) and self.lines[self.at][1] == indent and re.match(r"-(\s|$)", self.lines[self.at][2]):
            number, _, text = self.lines[self.at]
            rest = text[1:].lstrip()
            if not rest:
                self.at += 1
                items.append(self.nested(indent))
            elif re.match(r"[\w.-]+:(\s|$)", rest):
                inner = indent + len(text) - len(rest)
                self.lines[self.at] = (number, inner, rest)
                items.append(self.mapping(inner))
            else:
                self.at += 1
                items.append(scalar(rest, f"{self.name}:{number}"))
        return items

    def mapping(self, indent):
        found = {}
        while self.at < len(self.lines) and self.lines[self.at][1] == indent:
            number, _, text = self.lines[self.at]
            match = re.match(r"([\w.-]+|\"[^\"]*\"):(?:\s+(.*))?$", text)
            if not match:
                raise UsageError(f"{self.name}:{number}: expected 'key: value', found '{text}'")
            self.at += 1
            key = match[1].strip('"')
            found[key] = scalar(match[2], f"{self.name}:{number}") if match[2] else self.nested(indent)
        return found

    def nested(self, indent):
        if self.at < len(self.lines):
            _, here, text = self.lines[self.at]
            if here > indent or (here == indent and re.match(r"-(\s|$)", text)):
                return self.block(here)
        return None


def scalar(text, where):
    text = text.strip()
    if text[:1] in "[{":
        return _flow(text, where)
    if text[:1] == '"':
        return json.loads(text)
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    if text[:1] in "&*!|>":
        raise UsageError(f"{where}: the lab reads plain YAML only, no '{text[0]}'")
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return None if text in ("~", "null") else text


def _flow(text, where):
    if text[-1:] != {"[": "]", "{": "}"}[text[0]]:
        raise UsageError(f"{where}: '{text}' must end on its line")
    parts, depth, start, quote = [], 0, 1, None
    for at in range(1, len(text)):
        char = text[at]
        if quote:
            quote = None if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}" and at < len(text) - 1:
            depth -= 1
        elif (char == "," and depth == 0) or at == len(text) - 1:
            parts.append(text[start:at].strip())
            start = at + 1
    parts = [part for part in parts if part]
    if text[0] == "[":
        return [scalar(part, where) for part in parts]
    pairs = [part.partition(": ") for part in parts]
    return {key.strip().strip('"'): scalar(value, where) for key, _, value in pairs}


def dump(value, indent=0):
    """Block style for mappings and lists of mappings, one line for lists of scalars."""
    pad = " " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines.append(f"{pad}{key}:" if item else f"{pad}{key}: {{}}")
            lines += [dump(item, indent + 2)] if item else []
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{pad}{key}:")
            for entry in item:
                text = dump(entry, indent + 4)
                lines.append(f"{pad}  - {text.lstrip()}")
        elif isinstance(item, list):
            lines.append(f"{pad}{key}: [{', '.join(_plain(one) for one in item)}]")
        else:
            lines.append(f"{pad}{key}: {_plain(item)}")
    return "\n".join(lines)


def _plain(item):
    if isinstance(item, bool):
        return "true" if item else "false"
    if item is None:
        return "null"
    return str(item) if isinstance(item, int) else json.dumps(str(item))
