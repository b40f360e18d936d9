"""The strategy `mutate`: one change to a parent, at times two, and nothing else."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from arcfusion.core.composer.grammar import NORMS, POSITIONS, Grammar, try_replaced
from arcfusion.core.composer.proposal import Proposal, Request
from arcfusion.core.spec import ArchSpec, LayerSpec

SECOND_CHANCE = 0.3


class Edit(NamedTuple):
    """The changed spec, and the change in words."""

    spec: ArchSpec
    text: str


def propose(request: Request, rng: Random, index: int) -> Proposal | None:
    """Change one parent; None when no change of this draw leads to another architecture."""
    del index
    parent = rng.choice(request.parents)
    spec, texts = parent, list[str]()
    for _ in range(2 if rng.random() < SECOND_CHANCE else 1):
        edit = _edit_once(request.grammar, rng, spec)
        if edit is not None:
            spec = edit.spec
            texts.append(edit.text)
    spec, adjustments = request.grammar.tidy(spec)
    if not texts or spec.digest() == parent.digest():
        return None
    return Proposal(
        spec=spec,
        parents=(parent,),
        reasoning=f"{parent.name}, with {' and '.join(texts)}.",
        adjustments=adjustments,
    )


def _edit_once(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Return the first kind of change, in a drawn order, that is possible and has an effect."""
    for edit in rng.sample(EDITS, len(EDITS)):
        changed = edit(grammar, rng, spec)
        if changed is not None and grammar.tidy(changed.spec)[0].digest() != spec.digest():
            return changed
    return None


def replace_mixer(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Put another mixer into one layer."""
    at = rng.randrange(len(spec.layers))
    old = spec.layers[at]
    kinds = [k for k in grammar.mixer_kinds if k != old.mixer.kind]
    if not kinds:
        return None
    mixer = rng.choice(grammar.choices(rng.choice(kinds), spec.position))
    layer = LayerSpec(mixer=mixer, channel=old.channel)
    text = f"{mixer.kind} for {old.mixer.kind} as the mixer of layer {at}"
    return _with_layers(spec, (*spec.layers[:at], layer, *spec.layers[at + 1 :]), text)


def replace_channel(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Put another channel mixer into one layer."""
    at = rng.randrange(len(spec.layers))
    old = spec.layers[at]
    kinds = [k for k in grammar.channel_kinds if k != old.channel.kind]
    if not kinds:
        return None
    channel = rng.choice(grammar.choices(rng.choice(kinds), spec.position))
    layer = LayerSpec(mixer=old.mixer, channel=channel)
    text = f"{channel.kind} for {old.channel.kind} as the channel mixer of layer {at}"
    return _with_layers(spec, (*spec.layers[:at], layer, *spec.layers[at + 1 :]), text)


def change_option(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Give one option of one layer's mixer another value."""
    at = rng.randrange(len(spec.layers))
    old = spec.layers[at]
    others = grammar.neighbours(old.mixer, spec.position)
    if not others:
        return None
    mixer = rng.choice(others)
    name = next(n for n, value in mixer.options.items() if value != old.mixer.options[n])
    layer = LayerSpec(mixer=mixer, channel=old.channel)
    text = (
        f"{name} {mixer.options[name]} for {old.mixer.options[name]} "
        f"in the {mixer.kind} of layer {at}"
    )
    return _with_layers(spec, (*spec.layers[:at], layer, *spec.layers[at + 1 :]), text)


def insert_layer(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Add a drawn layer somewhere."""
    if len(spec.layers) >= grammar.constraints.max_layers:
        return None
    at = rng.randint(0, len(spec.layers))
    layer = grammar.draw_layer(rng, spec.position)
    text = f"a new layer {layer.mixer.kind}+{layer.channel.kind} at place {at}"
    return _with_layers(spec, (*spec.layers[:at], layer, *spec.layers[at:]), text)


def drop_layer(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Leave one layer out."""
    if len(spec.layers) <= max(1, grammar.constraints.min_layers):
        return None
    at = rng.randrange(len(spec.layers))
    text = f"layer {at} ({spec.layers[at].mixer.kind}) left out"
    return _with_layers(spec, (*spec.layers[:at], *spec.layers[at + 1 :]), text)


def swap_layers(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Let two different layers change places."""
    del grammar
    count = len(spec.layers)
    pairs = [
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if spec.layers[i] != spec.layers[j]
    ]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    layers = list(spec.layers)
    layers[i], layers[j] = layers[j], layers[i]
    return _with_layers(spec, tuple(layers), f"layers {i} and {j} swapped")


def change_norm(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Take another norm."""
    del grammar
    norm = rng.choice([n for n in NORMS if n != spec.norm])
    return _with_field(spec, norm=norm, text=f"{norm} for {spec.norm}")


def change_position(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Let positions enter in another way."""
    del grammar
    position = rng.choice([p for p in POSITIONS if p != spec.position])
    return _with_field(
        spec, position=position, text=f"position {position} instead of {spec.position}"
    )


def toggle_head(grammar: Grammar, rng: Random, spec: ArchSpec) -> Edit | None:
    """Tie the head to the embedding, or untie it."""
    del grammar, rng
    text = "the head untied from the embedding" if spec.tied_head else "the head tied"
    return _with_field(spec, tied_head=not spec.tied_head, text=text)


EDITS: tuple[Callable[[Grammar, Random, ArchSpec], Edit | None], ...] = (
    replace_mixer,
    replace_channel,
    change_option,
    insert_layer,
    drop_layer,
    swap_layers,
    change_norm,
    change_position,
    toggle_head,
)


def _with_layers(spec: ArchSpec, layers: tuple[LayerSpec, ...], text: str) -> Edit | None:
    return _with_field(spec, layers=layers, text=text)


def _with_field(spec: ArchSpec, *, text: str, **changes: object) -> Edit | None:
    changed = try_replaced(spec, **changes)
    return None if changed is None else Edit(changed, text)
