"""The dataflow of one forward as a graph, and the names that do not depend on how it was written.

Nodes are numbered in the order of the trace, which the author of a model chooses. `canonical` gives
each node a colour that does not depend on that order: the hash of what it is computed from, then of
what is computed from it, twice (colour refinement). Nodes that the output does not depend on get
no colour: an inert part is not part of the net.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Node:
    """One operation, with its arguments that are not tensors in `kind`.

    Attributes:
        kind: operation and arguments as text; the same text, the same operation.
        inputs: numbers of the nodes it reads, all smaller than its own.
        is_commutative: the order of the inputs does not matter.
        is_constant: it depends on neither the token ids nor a parameter.
    """

    kind: str
    inputs: tuple[int, ...]
    is_commutative: bool
    is_constant: bool


@dataclass(slots=True)
class Graph:
    """Nodes in topological order; adding a node that is there already returns its number."""

    nodes: list[Node] = field(default_factory=list)
    _numbers: dict[tuple[str, tuple[int, ...], object], int] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        inputs: tuple[int, ...] = (),
        *,
        is_commutative: bool = False,
        is_constant: bool = True,
        identity: object = None,
    ) -> int:
        """Return the number of the node, adding it if it is new.

        Args:
            kind: operation and arguments.
            inputs: nodes it reads.
            is_commutative: whether the order of the inputs does not matter.
            is_constant: False for token ids, parameters and random draws; inherited.
            identity: tells nodes apart that look the same (two parameters of one shape).
        """
        key = (kind, tuple(sorted(inputs)) if is_commutative else inputs, identity)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.nodes)
            is_constant = is_constant and all(self.nodes[i].is_constant for i in inputs)
            self.nodes.append(Node(kind, key[1], is_commutative, is_constant))
        return number

    def reachable(self, output: int) -> set[int]:
        """Return the nodes that the output depends on, itself included."""
        found = {output}
        for number in range(output, -1, -1):
            if number in found:
                found.update(self.nodes[number].inputs)
        return found


class Colours(NamedTuple):
    """Names that do not depend on the order of the trace.

    Attributes:
        output: hash of everything that the output is computed from.
        uses: node -> hash of what it is and of every way in which the output uses it.
    """

    output: str
    uses: dict[int, str]


def canonical(graph: Graph, output: int) -> Colours:
    """Name the output, and each node that it depends on."""
    leaves: dict[int, str] = {}
    above: list[str] = []
    for _ in range(ROUNDS):
        above = _colours_from_inputs(graph, leaves)
        uses = _colours_from_uses(graph, above, output)
        leaves = {n: colour for n, colour in uses.items() if not graph.nodes[n].inputs}
    above = _colours_from_inputs(graph, leaves)
    return Colours(above[output], _colours_from_uses(graph, above, output))


def _colours_from_inputs(graph: Graph, leaves: dict[int, str]) -> list[str]:
    """Hash each node with the colours of its inputs; a leaf takes the colour it has, if any."""
    colours: list[str] = []
    for number, node in enumerate(graph.nodes):
        inputs: Iterable[str] = (colours[i] for i in node.inputs)
        if node.is_commutative:
            inputs = sorted(inputs)
        colours.append(_hash(leaves.get(number, node.kind), *inputs))
    return colours


def _colours_from_uses(graph: Graph, above: list[str], output: int) -> dict[int, str]:
    """Hash each node with the colours of those that read it, from the output back."""
    uses: dict[int, list[str]] = {output: ["output"]}
    colours: dict[int, str] = {}
    for number in range(output, -1, -1):
        if number not in uses:
            continue
        node = graph.nodes[number]
        colour = colours[number] = _hash(above[number], *sorted(uses[number]))
        for position, i in enumerate(node.inputs):
            place = "any" if node.is_commutative else str(position)
            uses.setdefault(i, []).append(f"{colour} {place}")
    return colours


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
