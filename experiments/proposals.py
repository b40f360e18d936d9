"""Which architectures would fill a gap: variants of what was measured, each with what it asks.

Each function looks at a landscape and returns variants that nobody has trained under its key. All
are pure and ordered: the same landscape gives the same list. No wall time decides anything here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from arcfusion.core.blocks import CHANNELS, MIXERS, NORMS
from arcfusion.core.spec import ArchSpec, Choice, LayerSpec, SpecError
from arcfusion.experiments.compare import Verdict
from arcfusion.experiments.landscape import Landscape, Measured
from arcfusion.experiments.pareto import find_front


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An architecture to train beside a reference, and the verdict that is predicted for it."""

    kind: str
    reference: Measured
    spec: ArchSpec
    change: str
    question: str
    predicted_verdict: Verdict


def propose_components(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield the best architecture with every mixer of a kind that was never measured."""
    assert best.spec is not None
    seen = frozenset[str]().union(*(m.mixers for m in landscape.measured))
    for kind in MIXERS:
        if kind not in seen:
            spec = _with_mixers(best.spec, [kind] * len(best.spec.layers), name=f"all-{kind}")
            if spec is not None:
                yield Variant(
                    kind="component",
                    reference=best,
                    spec=spec,
                    change=f"{best.name} with {kind} as the mixer of every layer",
                    question=f"{kind} was never measured under this key",
                    predicted_verdict="better",
                )


def propose_pairs(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield alternations of two mixers that no measured architecture has together."""
    assert best.spec is not None
    n_layers = len(best.spec.layers)
    if n_layers < 2:
        return
    for a, b in combinations(MIXERS, 2):
        if any({a, b} <= m.mixers for m in landscape.measured):
            continue
        kinds = [(a, b)[i % 2] for i in range(n_layers)]
        spec = _with_mixers(best.spec, kinds, name=f"{a}-{b}-alternating")
        if spec is not None:
            yield Variant(
                kind="pair",
                reference=best,
                spec=spec,
                change=f"{best.name} with {a} and {b} alternating",
                question=f"{a} and {b} were never measured in one architecture under this key",
                predicted_verdict="better",
            )


def propose_placements(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield the best architecture's mixers, or those of the best two, in another order."""
    assert best.spec is not None
    kinds = [layer.mixer.kind for layer in best.spec.layers]
    common = max(sorted(set(kinds)), key=kinds.count)
    rare = [kind for kind in kinds if kind != common] or _rare_of_others(landscape, common)
    if not rare or len(kinds) < 2:
        return
    rest = [common] * (len(kinds) - len(rare))
    middle = len(rest) // 2
    half = len(rare) // 2
    orders = {
        "first": rare + rest,
        "last": rest + rare,
        "in the middle": rest[:middle] + rare + rest[middle:],
        "at both ends": rare[: len(rare) - half] + rest + rare[len(rare) - half :],
    }
    for place, order in orders.items():
        spec = _with_mixers(best.spec, order, name=f"{rare[0]}-{place.replace(' ', '-')}")
        if spec is not None:
            yield Variant(
                kind="placement",
                reference=best,
                spec=spec,
                change=f"{best.name} with its {len(rare)} {rare[0]} layer(s) {place}",
                question=f"where {rare[0]} stands among {common} was not measured in this order",
                predicted_verdict="better",
            )


def propose_depths(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield the best architecture at depths that were not measured."""
    del landscape
    assert best.spec is not None
    n_layers = len(best.spec.layers)
    for depth in (n_layers + max(1, n_layers // 2), 2 * n_layers):
        try:
            spec = best.spec.with_size(n_layers=depth)
        except SpecError:
            continue
        yield Variant(
            kind="depth",
            reference=best,
            spec=spec.replaced(name=f"{best.name}-{depth}-layers"[:100]),
            change=f"{best.name} with {depth} layers instead of {n_layers}",
            question=f"{best.name} was not measured at {depth} layers",
            predicted_verdict="better",
        )


def propose_ablations(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield the best architecture with one component replaced or removed."""
    del landscape
    assert best.spec is not None
    for change, variant in _ablations(best.spec):
        yield Variant(
            kind="ablation",
            reference=best,
            spec=variant,
            change=f"{best.name} with {change}",
            question=f"whether {best.name} needs what the change takes away is not known",
            predicted_verdict="worse",
        )


def propose_neighbours(landscape: Landscape, best: Measured) -> Iterator[Variant]:
    """Yield one change to each other architecture on the front of score and size.

    The front is of bits per byte and parameters: both are the same wherever it is computed.
    """
    sized = [m for m in landscape.measured if m.spec is not None and m.parameters is not None]
    front = find_front([(m.mean, float(m.parameters or 0)) for m in sized])
    for member in (sized[i] for i in front):
        if member.spec is None or member.fingerprint == best.fingerprint:
            continue
        for change, variant in _ablations(member.spec):
            yield Variant(
                kind="neighbour",
                reference=member,
                spec=variant,
                change=f"{member.name} with {change}",
                question=f"{member.name} is on the front of score and size",
                predicted_verdict="better",
            )


PROPOSERS: tuple[Callable[[Landscape, Measured], Iterator[Variant]], ...] = (
    propose_components,
    propose_ablations,
    propose_pairs,
    propose_placements,
    propose_depths,
    propose_neighbours,
)


def _ablations(spec: ArchSpec) -> Iterator[tuple[str, ArchSpec]]:
    """Yield what changes, and the spec in which exactly that has changed."""
    channels = {layer.channel.kind for layer in spec.layers}
    for kind in CHANNELS:
        if channels != {kind}:
            layers = tuple(
                LayerSpec(mixer=layer.mixer, channel=Choice(kind=kind)) for layer in spec.layers
            )
            yield from _changed(spec, f"{kind} channel mixers", kind, layers=layers)
    for norm in NORMS:
        if norm != spec.norm:
            yield from _changed(spec, f"{norm} instead of {spec.norm}", norm, norm=norm)
    if spec.position != "none":
        yield from _changed(spec, "no position encoding", "no-position", position="none")
    else:
        yield from _changed(spec, "rope positions", "rope", position="rope")


def _changed(
    spec: ArchSpec, change: str, label: str, **fields: object
) -> Iterator[tuple[str, ArchSpec]]:
    try:
        yield change, spec.replaced(name=f"{spec.name}-{label}"[:100], **fields)
    except SpecError:
        return


def _with_mixers(spec: ArchSpec, kinds: list[str], *, name: str) -> ArchSpec | None:
    """Return the spec with these mixers, a kind's options as in the spec; None if impossible."""
    known = {layer.mixer.kind: layer.mixer for layer in spec.layers}
    layers = tuple(
        LayerSpec(mixer=known.get(kind, Choice(kind=kind)), channel=layer.channel)
        for kind, layer in zip(kinds, spec.layers, strict=True)
    )
    try:
        return spec.replaced(name=name, layers=layers)
    except SpecError:
        return None


def _rare_of_others(landscape: Landscape, common: str) -> list[str]:
    """Return one layer of the best other architecture's mixer, for a best one of one kind."""
    others = sorted(landscape.measured, key=lambda m: (m.mean, m.fingerprint))
    for other in others:
        kinds = sorted(other.mixers - {common})
        if kinds:
            return kinds[:1]
    return []
