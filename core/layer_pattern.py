"""The short way to write layers: `[mamba1, mamba1, mha] * 4`.

    pattern := product ("+" product)*
    product := [COUNT "*"] part ("*" COUNT)*
    part    := NAME | "[" [pattern ("," pattern)* [","]] "]"

A pattern stands for the list of names that it spells out.
"""

import re

MAX_LAYERS = 256
_MAX_DEPTH = 32
_SYMBOL = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<count>[0-9]+)|(?P<sign>[\[\],*+]))"
)
_OPENING = re.compile(r"^(layers:[ \t]*|[ \t]*-[ \t]+)(?=\[)", re.MULTILINE)
_TOP_LEVEL_KEY = re.compile(r"^[A-Za-z_]", re.MULTILINE)
_END_OF_PATTERN = re.compile(r"[ \t]+#|[ \t]*$")


class PatternError(ValueError):
    """A layer pattern that can not be read."""


def expand(pattern: str) -> list[str]:
    """Spell out a pattern: `[a, b] * 2 + c` -> a b a b c.

    Raises:
        PatternError: it is not a pattern, or it spells more than 256 layers.
    """
    parser = _Parser(pattern)
    names = parser.pattern(0)
    if parser.symbol:
        raise parser.error("'+', '*' or the end")
    return names


def fold(names: list[str]) -> str:
    """Write names as the shortest repeated list: a b a b -> `[a, b] * 2`."""
    length = len(names)
    period = next(
        n for n in range(1, length + 1) if length % n == 0 and names[:n] * (length // n) == names
    )
    unit = f"[{', '.join(names[:period])}]"
    return unit if period == length else f"{unit} * {length // period}"


def quote_patterns(text: str) -> str:
    """Quote unquoted patterns under a YAML document's top-level `layers:`, keeping its lines.

    `layers: [mamba1, mha] * 4` is not YAML; `layers: '[mamba1, mha] * 4'` is. Lists without an
    operator, quoted text and mappings are left to YAML.
    """
    start = re.search(r"^layers:", text, re.MULTILINE)
    if start is None:
        return text
    following = _TOP_LEVEL_KEY.search(text, start.end())
    end = following.start() if following else len(text)
    block = text[start.start() : end]
    pieces = []
    position = 0
    for opening in _OPENING.finditer(block):
        if opening.start() < position:
            continue
        stop = _end_of_pattern(block, opening.end())
        pattern = block[opening.end() : stop]
        if re.search(r"[*+]", pattern) and not re.search(r"[{}'\"#&]", pattern):
            pieces += [block[position : opening.end()], f"'{pattern}'"]
            position = stop
    return text[: start.start()] + "".join(pieces) + block[position:] + text[end:]


def _end_of_pattern(text: str, start: int) -> int:
    """Return where the pattern ends: the end of the line on which its brackets are closed."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[index], 0)
        if depth <= 0 and (ending := _END_OF_PATTERN.match(text, index + 1)):
            return ending.start()
        if depth <= 0 and text[index] == "\n":
            return index
    return len(text.rstrip())


class _Parser:
    """A recursive-descent parser; `symbol` is the next symbol, "" at the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 0
        self.symbol = ""
        self.kind = ""
        self.advance()

    def error(self, expected: str) -> PatternError:
        found = repr(self.symbol) if self.symbol else "the end"
        return PatternError(
            f"layer pattern {self.text!r}: expected {expected}, found {found} at character "
            f"{self.end - len(self.symbol) + 1}; a pattern looks like [mamba1, mamba1, mha] * 4"
        )

    def advance(self) -> None:
        match = _SYMBOL.match(self.text, self.end)
        if match is None:
            rest = self.text[self.end :].strip()
            self.end = len(self.text) - len(rest) + (1 if rest else 0)
            self.symbol, self.kind = rest[:1], "unknown" if rest else ""
            return
        self.end = match.end()
        self.kind = match.lastgroup or ""
        self.symbol = match[self.kind]

    def pattern(self, depth: int) -> list[str]:
        names = self.product(depth)
        while self.symbol == "+":
            self.advance()
            names = self._bounded(names + self.product(depth))
        return names

    def product(self, depth: int) -> list[str]:
        count = 1
        if self.kind == "count":
            count = self.count()
            if self.symbol != "*":
                raise self.error("'*' after the count")
            self.advance()
        names = self.repeat(self.part(depth), count)
        while self.symbol == "*":
            self.advance()
            names = self.repeat(names, self.count())
        return names

    def count(self) -> int:
        if self.kind != "count":
            raise self.error("a count such as 4")
        count = int(self.symbol[:9])
        if count == 0:
            raise self.error("a count of at least 1")
        self.advance()
        return count

    def part(self, depth: int) -> list[str]:
        if self.kind == "name":
            name = self.symbol
            self.advance()
            return [name]
        if self.symbol != "[" or depth >= _MAX_DEPTH:
            raise self.error("a component's name or '['")
        self.advance()
        names: list[str] = []
        while self.symbol != "]":
            names = self._bounded(names + self.pattern(depth + 1))
            if self.symbol == ",":
                self.advance()
            elif self.symbol != "]":
                raise self.error("',' or ']'")
        self.advance()
        return names

    def repeat(self, names: list[str], count: int) -> list[str]:
        if len(names) * count > MAX_LAYERS:
            raise PatternError(
                f"layer pattern {self.text!r} spells {len(names) * count} layers: "
                f"at most {MAX_LAYERS} are allowed"
            )
        return names * count

    def _bounded(self, names: list[str]) -> list[str]:
        return self.repeat(names, 1)
