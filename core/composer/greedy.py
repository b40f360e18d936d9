"""The strategy `greedy`: layer by layer, the component with the best evidence beside what is there.

Evidence is the library's relations (which hold ports too: what does not fit scores 0). A mixer that
the architecture does not have yet gets a bonus, and one that repeats itself counts less with every
layer, so that it does not end as a known engine. The first proposal takes the best everywhere;
later ones draw from the best three, ever more freely.
"""

import math
from collections.abc import Sequence
from random import Random

from arcfusion.core.composer.grammar import NORMS, POSITIONS
from arcfusion.core.composer.proposal import Proposal, Request, describe_layers
from arcfusion.core.spec import Choice, LayerSpec

TOP = 3
NEW_MIXER_BONUS = 0.3
REPEAT_DECAY = 0.8
TEMPERATURE_STEP = 0.02
HIGHEST_TEMPERATURE = 0.4


def propose(request: Request, rng: Random, index: int) -> Proposal:
    """Return the architecture that the relations lead to from a start."""
    grammar, score = request.grammar, request.relations.score
    temperature = min(HIGHEST_TEMPERATURE, TEMPERATURE_STEP * index)
    c = grammar.constraints
    depth = c.max_layers if index == 0 else rng.randint(max(c.min_layers, 2), max(c.max_layers, 2))
    depth = min(depth, c.max_layers)
    mixers: list[str] = []
    channels: list[str] = []
    for _ in range(depth):
        scored = [
            (_follow(request, mixers, kind) + NEW_MIXER_BONUS * (kind not in mixers), kind)
            for kind in grammar.mixer_kinds
        ]
        mixers.append(_pick(scored, temperature, rng))
        scored = [(score(mixers[-1], kind), kind) for kind in grammar.channel_kinds]
        channels.append(_pick(scored, temperature, rng))
    norm = _pick([(_mean(request, kind, mixers), kind) for kind in NORMS], temperature, rng)
    position = _pick_position(request, mixers, temperature, rng)
    layers = tuple(
        LayerSpec(
            mixer=_settings(request, mixer, position, temperature, rng),
            channel=_settings(request, channel, position, temperature, rng),
        )
        for mixer, channel in zip(mixers, channels, strict=True)
    )
    spec = grammar.build(layers, norm=norm, position=position, tied_head=True)
    spec, adjustments = grammar.tidy(spec)
    return Proposal(
        spec=spec,
        reasoning=f"Built layer by layer from the relations in {len(request.engines)} known "
        f"engines (temperature {temperature:.2f}): {describe_layers(mixers)} with "
        f"{describe_layers(channels)}; {norm}, position {spec.position}.",
        adjustments=adjustments,
    )


def _follow(request: Request, mixers: Sequence[str], kind: str) -> float:
    """Return how well the mixer follows the last one; at the start, how many engines have it."""
    if not mixers:
        return sum(kind in e.components() for e in request.engines) / len(request.engines)
    run = next((i for i, k in enumerate(reversed(mixers)) if k != kind), len(mixers))
    return request.relations.score(mixers[-1], kind) * REPEAT_DECAY**run


def _mean(request: Request, kind: str, mixers: Sequence[str]) -> float:
    return sum(request.relations.score(kind, mixer) for mixer in mixers) / len(mixers)


def _pick_position(request: Request, mixers: Sequence[str], temperature: float, rng: Random) -> str:
    """Return the position with the best evidence; none when that is a recurrence's own order."""
    scored = [(_mean(request, p, mixers), p) for p in POSITIONS if p != "none"]
    engines = [e for e in request.engines if e.spec.position == "none"]
    without = sum(any(m in e.components() for e in engines) for m in mixers) / len(mixers)
    return _pick([*scored, (without * max(s for s, _ in scored), "none")], temperature, rng)


def _settings(
    request: Request, kind: str, position: str, temperature: float, rng: Random
) -> Choice:
    choices = request.grammar.choices(kind, position)
    return choices[0] if temperature == 0 else rng.choice(choices)


def _pick(scored: Sequence[tuple[float, str]], temperature: float, rng: Random) -> str:
    """Return the best at temperature 0, else one of the best three by softmax(score / T)."""
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:TOP]
    if temperature == 0:
        return best[0][1]
    weights = [math.exp((value - best[0][0]) / temperature) for value, _ in best]
    return rng.choices([kind for _, kind in best], weights)[0]
