"""What a dream is worth trying, before anything is built: evidence for it, and what is new in it.

    score = (coherence + novelty) / 2, both in [0, 1]

Coherence is the mean relation of neighbouring parts. Novelty is the distance to the nearest known
engine. A copy of an engine has no novelty, a heap of parts that nobody combined has no coherence.
It orders dreams inside a batch; it predicts no loss.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from arcfusion.core.library.engines import Engine
from arcfusion.core.library.relations import Relations
from arcfusion.core.spec import ArchSpec

LAYER_SHARE, NORM_SHARE, POSITION_SHARE = 0.7, 0.15, 0.15


class Score(NamedTuple):
    """The score and what it is made of."""

    total: float
    coherence: float
    novelty: float


def compute_score(spec: ArchSpec, relations: Relations, engines: Sequence[Engine]) -> Score:
    """Return the score; it knows kinds of components, not their options."""
    values = [relations.score(a, b) for a, b in _neighbours(spec)]
    coherence = sum(values) / len(values)
    novelty = 1 - max((compute_similarity(spec, e.spec) for e in engines), default=0.0)
    return Score((coherence + novelty) / 2, coherence, novelty)


def compute_similarity(spec: ArchSpec, other: ArchSpec) -> float:
    """Return the share of equal kinds; the other's layers are repeated or cut to this depth."""
    same = 0.0
    for i, layer in enumerate(spec.layers):
        theirs = other.layers[i % len(other.layers)]
        same += (layer.mixer.kind == theirs.mixer.kind) / 2
        same += (layer.channel.kind == theirs.channel.kind) / 2
    return (
        LAYER_SHARE * same / len(spec.layers)
        + NORM_SHARE * (spec.norm == other.norm)
        + POSITION_SHARE * (spec.position == other.position)
    )


def _neighbours(spec: ArchSpec) -> Iterator[tuple[str, str]]:
    before: str | None = None
    for layer in spec.layers:
        mixer = layer.mixer.kind
        if spec.position != "none":
            yield spec.position, mixer
        if before is not None:
            yield before, mixer
        yield spec.norm, mixer
        yield mixer, layer.channel.kind
        before = mixer
