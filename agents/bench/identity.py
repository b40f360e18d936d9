"""Does the fingerprint mean the net: the same for every way to write it, another for every change.

A kind of pair is a function of a dreamed spec that returns two models, or None where the spec has
nothing of that kind (no key/value heads to change, no attention to unmask).
"""

import ast
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from arcfusion.agents.bench.design import load_generated
from arcfusion.agents.bench.record import Row, at_least
from arcfusion.agents.bench.thread import one_thread

if TYPE_CHECKING:
    from torch import nn

    from arcfusion.core.spec import ArchSpec, LayerSpec

    Pair = tuple[nn.Module, nn.Module]

Kind = Callable[["ArchSpec", Random], "Pair | None"]

MOST_LAYERS = 3
OPTION_VALUES: dict[str, tuple[float, ...]] = {
    "n_heads": (1, 2, 4, 8, 16),
    "n_kv_heads": (1, 2, 4, 8),
    "d_state": (4, 8, 16, 32),
    "d_conv": (1, 2, 3, 4),
    "expand": (1, 2, 3),
    "dt_rank": (1, 2, 4, 8),
    "ratio": (1.0, 1.5, 2.0, 3.0, 4.0),
}
# What keeps a mixer causal, in the text of a generated file, and what takes it away.
MASKS = {"is_causal=True": "is_causal=False", ".tril()": ""}


class Judged(NamedTuple):
    """One pair: what kind it is of, and whether the two fingerprints are equal."""

    kind: str
    is_equal: bool


def measure(quick: bool) -> Iterator[Row]:
    """Fingerprint equal pairs and one-option changes of dreamed specs."""
    n = 12 if quick else 200
    specs = _dream_specs(n)
    with one_thread():
        equal = [*judge_pairs(EQUAL_KINDS, specs, n)]
    yield count(f"equal pairs with the same fingerprint, of {n}", equal, expected=True)
    with one_thread():
        changed = [*judge_pairs(CHANGED_KINDS, specs, n)]
    yield count(f"one-option changes with another fingerprint, of {n}", changed, expected=False)


def judge_pairs(kinds: Mapping[str, Kind], specs: "Sequence[ArchSpec]", n: int) -> Iterator[Judged]:
    """Make n pairs, the kinds in turn, each of the next spec that has one; compare fingerprints."""
    from arcfusion.core.identity import fingerprint

    names = list(kinds)
    for index in range(n):
        name = names[index % len(names)]
        rng = Random(f"{name}/{index}")  # noqa: S311 - no secret
        one, other = _first_pair(kinds[name], specs, index, rng)
        yield Judged(name, fingerprint(one) == fingerprint(other))


def _first_pair(kind: Kind, specs: "Sequence[ArchSpec]", start: int, rng: Random) -> "Pair":
    for step in range(len(specs)):
        pair = kind(specs[(start + step) % len(specs)], rng)
        if pair is not None:
            return pair
    raise AssertionError(f"none of {len(specs)} specs has a pair of this kind")


def count(name: str, judged: Sequence[Judged], *, expected: bool) -> Row:
    """Return the row of how many pairs are equal as expected; the kinds that are not are named."""
    wrong = Counter(one.kind for one in judged if one.is_equal != expected)
    n_kinds = len({one.kind for one in judged})
    detail = f"{n_kinds} kinds; wrong: {dict(wrong) or 'none'}"
    return at_least(name, len(judged) - wrong.total(), len(judged), "pairs", detail)


def _dream_specs(n: int) -> "list[ArchSpec]":
    """Return specs that say different things; whether they build different nets is asked here."""
    from arcfusion.core.composer import Constraints, dream
    from arcfusion.core.spec import ArchSpec

    dreams = dream(
        "random",
        seed=13,
        n=n,
        constraints=Constraints(max_layers=MOST_LAYERS),
        identify=ArchSpec.digest,
    )
    return [one.spec for one in dreams]


def _build(spec: "ArchSpec", rng: Random) -> "nn.Module":
    from arcfusion.core.model import LanguageModel

    return LanguageModel(spec, seed=rng.randrange(2**31))


def _build_generated(source: str, rng: Random) -> "nn.Module":
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.randrange(2**31))
        return load_generated(source).build()


def rename(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """Another name and another seed of the weights."""
    return _build(spec, rng), _build(spec.replaced(name="renamed"), rng)


def reorder_keys(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """Every option written out, in YAML with its keys in another order."""
    return _build(spec, rng), _build(_reread(_shuffle(spec.canonical(), rng)), rng)


def leave_out_defaults(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """YAML that says nothing that is the default."""
    from arcfusion.core.spec import ArchSpec, Choice

    def sparse(choice: Choice) -> dict[str, object]:
        defaults = Choice(kind=choice.kind).resolved(spec.d_model).options
        chosen = {name: v for name, v in choice.options.items() if v != defaults[name]}
        return {"kind": choice.kind, "options": chosen}

    document: dict[str, object] = {
        name: value
        for name, value in spec.canonical().items()
        if value != ArchSpec.model_fields[name].default
    }
    document["layers"] = [
        {"mixer": sparse(layer.mixer), "channel": sparse(layer.channel)} for layer in spec.layers
    ]
    return _build(spec, rng), _build(_reread(document), rng)


def rewrite_pattern(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """The mixers of the first and the last layer, as a repeated list and as a sum."""
    first, last = spec.layers[0], spec.layers[-1]
    options = {choice.kind: choice.options for choice in (last.mixer, first.mixer, first.channel)}
    frame = {key: value for key, value in spec.canonical().items() if key != "layers"}
    a, b = first.mixer.kind, last.mixer.kind
    models = []
    for pattern in (f"[{a}, {b}] * 2", f"{a} + {b} + 1 * [{a}] + [[{b}]]"):
        extra = {"layers": pattern, "channel": first.channel.kind, "options": options}
        models.append(_build(_reread({**frame, **extra}), rng))
    return models[0], models[1]


def generate_code(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """The model, and the model of the generated file."""
    from arcfusion.core.codegen import generate

    return _build(spec, rng), _build_generated(generate(spec), rng)


def rename_attributes(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """The generated file with its classes and attributes renamed, registered in another order."""
    from arcfusion.core.codegen import generate

    model = _build(spec, rng)
    twin = _build_generated(rename_in_source(generate(spec)), rng)
    reverse_registration(twin)
    return model, twin


def rename_in_source(source: str) -> str:
    """Give each class, and each attribute that holds a module or parameter of ours, another name.

    `weight` and `bias` stay: torch's own layers have them. Only `forward` is kept working: the
    fields of the stepping state have the names of some attributes, and are not followed.
    """
    tree = ast.parse(source)
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    } - {"weight", "bias"}
    assert classes, "a generated file has classes"
    assert attributes, "a generated file has modules with attributes"
    return ast.unparse(_Renamer(classes, attributes).visit(tree))


class _Renamer(ast.NodeTransformer):
    """Renames classes, and attributes wherever they are read, written or looked up by text."""

    def __init__(self, classes: set[str], attributes: set[str]) -> None:
        self._classes = classes
        self._attributes = attributes

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._rename_class(node.name)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._rename_class(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self._rename_attribute(node.attr)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and node.value.replace(".", "").isidentifier():
            node.value = ".".join(map(self._rename_attribute, node.value.split(".")))
        return node

    def _rename_class(self, name: str) -> str:
        return f"Another{name}" if name in self._classes else name

    def _rename_attribute(self, name: str) -> str:
        return f"another_{name}" if name in self._attributes else name


def reverse_registration(model: "nn.Module") -> None:
    """Reverse the order of submodules and parameters, except where the order is what runs."""
    from torch import nn

    for module in model.modules():
        module._parameters = OrderedDict(reversed(module._parameters.items()))
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            module._modules = OrderedDict(reversed(module._modules.items()))


def change_option(name: str) -> Kind:
    """Return the kind that gives one layer's option another value."""

    def change(spec: "ArchSpec", rng: Random) -> "Pair | None":
        changed = [
            layers
            for at, layer in enumerate(spec.layers)
            for value in OPTION_VALUES[name]
            for one in _with_option(layer, name, value)
            for layers in [(*spec.layers[:at], one, *spec.layers[at + 1 :])]
        ]
        return _draw_change(spec, rng, [{"layers": layers} for layers in changed])

    return change


def change_field(name: str, *values: object) -> Kind:
    """Return the kind that gives a field of the spec another value."""

    def change(spec: "ArchSpec", rng: Random) -> "Pair | None":
        return _draw_change(spec, rng, [{name: value} for value in values])

    return change


def change_width(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """Another model width."""
    from arcfusion.core.spec import SpecError

    try:
        wider = spec.with_size(d_model=rng.choice((32, 96, 128)))
    except SpecError:
        return None
    return _build(spec, rng), _build(wider, rng)


def change_longest(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """Another number of learned positions."""
    if spec.position != "learned":
        return None
    return _draw_change(spec, rng, [{"max_seq_len": 512}])


def swap_layers(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """Two layers change places."""
    layers = spec.layers
    changes = []
    for i in range(len(layers)):
        for j in range(i + 1, len(layers)):
            swapped = list(layers)
            swapped[i], swapped[j] = layers[j], layers[i]
            changes.append({"layers": tuple(swapped)})
    return _draw_change(spec, rng, changes)


def drop_layer(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """The last layer is left out."""
    if len(spec.layers) == 1:
        return None
    return _draw_change(spec, rng, [{"layers": spec.layers[:-1]}])


def drop_mask(spec: "ArchSpec", rng: Random) -> "Pair | None":
    """The generated file, and the same file without the causal mask of one of its classes."""
    from arcfusion.core.codegen import generate

    source = generate(spec)
    present = [mask for mask in MASKS if mask in source]
    if not present:
        return None
    mask = rng.choice(present)
    unmasked = source.replace(mask, MASKS[mask])
    return _build_generated(source, rng), _build_generated(unmasked, rng)


def _with_option(layer: "LayerSpec", name: str, value: float) -> "list[LayerSpec]":
    """Return the layer with the option changed where it has it: in the mixer or in the channel."""
    from arcfusion.core.spec import Choice, LayerSpec, SpecError

    changed = []
    for role, choice in (("mixer", layer.mixer), ("channel", layer.channel)):
        if name not in choice.options:
            continue
        try:
            other = Choice(kind=choice.kind, options={**choice.options, name: value})
        except SpecError:
            continue
        parts = {"mixer": layer.mixer, "channel": layer.channel, role: other}
        changed.append(LayerSpec(**parts))
    return changed


def _draw_change(
    spec: "ArchSpec", rng: Random, changes: "Sequence[Mapping[str, object]]"
) -> "Pair | None":
    """Build the spec and one of the changed ones that can be built and say something else."""
    from arcfusion.core.composer.grammar import Constraints, Grammar, try_replaced

    tidy = Grammar(Constraints(vocab_size=spec.vocab_size, d_model=spec.d_model)).tidy
    possible = []
    for change in changes:
        changed = try_replaced(spec, **change)
        # Rotary positions that no mixer applies are no change.
        if changed is not None and tidy(changed)[0].digest() != spec.digest():
            possible.append(changed)
    if not possible:
        return None
    return _build(spec, rng), _build(rng.choice(possible), rng)


def _reread(document: Mapping[str, object]) -> "ArchSpec":
    import yaml

    from arcfusion.core.spec import ArchSpec

    return ArchSpec.from_yaml(yaml.safe_dump(dict(document), sort_keys=False))


def _shuffle(values: Mapping[str, object], rng: Random) -> dict[str, object]:
    """Return the same mapping, and those inside it, with the keys in another order."""

    def shuffle(value: object) -> object:
        if isinstance(value, dict):
            return _shuffle(value, rng)
        return [shuffle(item) for item in value] if isinstance(value, list) else value

    return {key: shuffle(values[key]) for key in rng.sample(list(values), len(values))}


EQUAL_KINDS: dict[str, Kind] = {
    "renamed, other seed": rename,
    "options written out, keys reordered": reorder_keys,
    "defaults left out": leave_out_defaults,
    "pattern": rewrite_pattern,
    "generated code": generate_code,
    "attributes renamed, registration reordered": rename_attributes,
}
# The quick version runs the first twelve.
CHANGED_KINDS: dict[str, Kind] = {
    "query heads": change_option("n_heads"),
    "key/value heads": change_option("n_kv_heads"),
    "causal mask": drop_mask,
    "position": change_field("position", "rope", "learned", "none"),
    "norm": change_field("norm", "rmsnorm", "layernorm"),
    "tied head": change_field("tied_head", True, False),  # noqa: FBT003 - a value of the field
    "state size": change_option("d_state"),
    "layer order": swap_layers,
    "width": change_width,
    "vocabulary": change_field("vocab_size", 128, 255, 512),
    "hidden width": change_option("ratio"),
    "depth": drop_layer,
    "convolution taps": change_option("d_conv"),
    "expansion": change_option("expand"),
    "rank of dt": change_option("dt_rank"),
    "learned positions": change_longest,
}
