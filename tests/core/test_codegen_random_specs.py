"""Random architectures: the generated file is the model, and the fingerprint is the net.

The suite keeps the number of fingerprints low; 200 of each were run with the same code.
"""

import ast
import math
import random
from types import ModuleType

import pytest
import torch
from torch import nn

from arcfusion.core.blocks import load_component
from arcfusion.core.codegen import generate
from arcfusion.core.identity import fingerprint
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec, Choice, LayerSpec, SpecError

N_SPECS = 60  # `arcfusion bench loop --only codegen` compares 200
N_IDENTITY_SPECS = 12
REWRITES_OF_EACH = 2
CHANGES_OF_EACH = 4
VOCAB_SIZE = 48


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def draw_mixer(rng: random.Random) -> Choice:
    kind = rng.choice(["mha", "gqa", "mqa", "linear_attention", "mamba1"])
    if kind == "mamba1":
        return Choice(
            kind=kind,
            options={
                "d_state": rng.choice([1, 4, 16]),
                "d_conv": rng.choice([1, 2, 4]),
                "expand": rng.choice([1, 2]),
                "dt_rank": rng.choice([0, 3]),
            },
        )
    n_heads = rng.choice([1, 2, 4])
    if kind == "gqa":
        n_kv_heads = rng.choice([n for n in (1, 2, 4) if n_heads % n == 0])
        return Choice(kind=kind, options={"n_heads": n_heads, "n_kv_heads": n_kv_heads})
    return Choice(kind=kind, options={"n_heads": n_heads})


def draw_layer(rng: random.Random) -> LayerSpec:
    channel = Choice(
        kind=rng.choice(["mlp", "swiglu"]), options={"ratio": rng.choice([1.0, 2.5, 4.0])}
    )
    return LayerSpec(mixer=draw_mixer(rng), channel=channel)


def draw_spec(rng: random.Random) -> ArchSpec:
    return ArchSpec(
        vocab_size=VOCAB_SIZE,
        d_model=rng.choice([16, 32]),
        layers=tuple(draw_layer(rng) for _ in range(rng.randint(1, 4))),
        norm=rng.choice(["rmsnorm", "layernorm"]),
        position=rng.choice(["rope", "learned", "none"]),
        max_seq_len=100,
        tied_head=rng.choice([True, False]),
    )


def run(text: str) -> ModuleType:
    module = ModuleType("generated")
    exec(compile(text, "generated.py", "exec"), module.__dict__)
    return module


def compute_gradients(model: nn.Module, ids_BT: torch.Tensor) -> list[torch.Tensor]:
    loss = model.loss(ids_BT[:, :-1], ids_BT[:, 1:])
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_a_generated_file_computes_what_the_model_computes_bit_for_bit():
    rng = random.Random(1)
    for index in range(N_SPECS):
        spec = draw_spec(rng)
        model = LanguageModel(spec, seed=index)
        generated = run(generate(spec)).build()
        generated.load_state_dict(model.state_dict(), strict=True)
        ids_BT = torch.randint(VOCAB_SIZE, (2, rng.choice([1, 2, 17, 33])))
        assert torch.equal(model(ids_BT), generated(ids_BT)), spec.to_yaml()


def test_a_generated_file_has_the_gradients_steps_and_initial_weights_of_the_model():
    rng = random.Random(2)
    for index in range(12):
        spec = draw_spec(rng)
        model = LanguageModel(spec, seed=index)
        torch.manual_seed(index)
        generated = run(generate(spec)).build()
        mine, other = model.state_dict(), generated.state_dict()
        assert list(mine) == list(other)
        assert all(torch.equal(mine[name], other[name]) for name in mine)
        ids_BT = torch.randint(VOCAB_SIZE, (2, 18))
        pairs = zip(
            compute_gradients(model, ids_BT), compute_gradients(generated, ids_BT), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)
        assert torch.equal(
            model.generate(ids_BT[:, :3], 5, seed=7), generated.generate(ids_BT[:, :3], 5, seed=7)
        )


class Rewrite(ast.NodeTransformer):
    """The same net as another person would write it: other names, other order where it is free."""

    def __init__(self, rng: random.Random, text: str) -> None:
        self.rng = rng
        self.tree = ast.parse(text)
        taken = set(dir(nn.Linear(1, 1))) | set(dir(nn.Embedding(1, 1))) | {"shape", "dtype"}
        stored = {
            node.attr
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
        self.attributes = {name: f"part_{rng.getrandbits(32):x}" for name in stored - taken}
        self.classes = {
            node.name: f"Thing{rng.getrandbits(32):x}"
            for node in self.tree.body
            if isinstance(node, ast.ClassDef)
        }

    def text(self) -> str:
        return ast.unparse(ast.fix_missing_locations(self.visit(self.tree)))

    def visit_Attribute(self, node):
        self.generic_visit(node)
        node.attr = self.attributes.get(node.attr, node.attr)
        return node

    def visit_Name(self, node):
        node.id = self.classes.get(node.id, node.id)
        return node

    def visit_Constant(self, node):
        # get_parameter("out_proj.weight") names an attribute.
        if node.value == "out_proj.weight":
            node.value = f"{self.attributes['out_proj']}.weight"
        return node

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        node.name = self.classes[node.name]
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.Add | ast.Mult) and self.rng.random() < 0.7:
            node.left, node.right = node.right, node.left
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        body, group = [], []
        for statement in [*node.body, None]:
            if statement is not None and self._is_independent(statement, group):
                group.append(statement)
                continue
            self.rng.shuffle(group)
            body += group
            group = [] if statement is None else [statement]
            if statement is not None and not isinstance(statement, ast.Assign):
                body += group
                group = []
        node.body = body
        return node

    @staticmethod
    def _is_independent(statement, group):
        if not isinstance(statement, ast.Assign):
            return False
        parts = [*group, statement]
        stored = [
            {ast.unparse(t) for target in part.targets for t in ast.walk(target) if is_place(t)}
            for part in parts
        ]
        loaded = [{ast.unparse(n) for n in ast.walk(part.value) if is_place(n)} for part in parts]
        return all(
            not stored[i] & (loaded[j] | stored[j])
            for i in range(len(parts))
            for j in range(len(parts))
            if i != j
        )


def is_place(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) != "self"


def describe_net(spec: ArchSpec) -> object:
    """Say what is built, so that two specs of the same net are seen to be that."""

    def block(choice: Choice) -> object:
        component = load_component(choice.kind)
        arguments = component.arguments(choice.parsed(), spec.d_model, spec)
        return component.factory, sorted(arguments.items())

    position = spec.max_seq_len if spec.position == "learned" else None
    layers = [(block(layer.mixer), block(layer.channel)) for layer in spec.layers]
    return spec.vocab_size, spec.d_model, layers, spec.norm, position, spec.tied_head


def change_layer(spec: ArchSpec, rng: random.Random) -> list[LayerSpec]:
    """Return the layers with one of them, or one option of one of them, changed."""
    layers = list(spec.layers)
    index = rng.randrange(len(layers))
    if rng.random() < 0.2:
        layers[index] = draw_layer(rng)
        return layers
    role = rng.choice(["mixer", "channel"])
    choice = getattr(layers[index], role)
    name = rng.choice(sorted(choice.options))
    value = choice.options[name] * rng.choice([2, 3]) if rng.random() < 0.6 else 1
    changed = Choice(kind=choice.kind, options={**choice.options, name: value})
    layers[index] = layers[index].model_copy(update={role: changed})
    return layers


def change_one_option(spec: ArchSpec, rng: random.Random) -> ArchSpec:
    """Return the spec with one thing about it changed, if it can be built; else itself."""
    layers = spec.layers
    changes = [
        {"norm": "layernorm" if spec.norm == "rmsnorm" else "rmsnorm"},
        {"position": rng.choice(["rope", "learned", "none"])},
        {"tied_head": not spec.tied_head},
        {"d_model": 48 - spec.d_model},
        {"vocab_size": spec.vocab_size + 1},
        {"layers": [*layers, layers[-1]]},
        {"layers": layers[:-1] or layers},
        {"layers": [*layers[1:], layers[0]]},
    ]
    try:
        changes += [{"layers": change_layer(spec, rng)} for _ in range(10)]
        return spec.replaced(**rng.choice(changes))
    except SpecError:
        return spec


def test_renamed_and_reordered_nets_share_a_fingerprint():
    rng = random.Random(3)
    for index in range(N_IDENTITY_SPECS):
        spec = draw_spec(rng)
        text = generate(spec)
        expected = fingerprint(LanguageModel(spec, seed=index))
        for seed in range(REWRITES_OF_EACH):
            torch.manual_seed(seed)
            rewritten = Rewrite(rng, text).text()
            assert fingerprint(run(rewritten).build()) == expected, rewritten


def test_one_changed_option_changes_the_fingerprint_unless_the_net_is_the_same():
    rng = random.Random(4)
    n_changed = 0
    while n_changed < N_IDENTITY_SPECS * CHANGES_OF_EACH:
        spec = draw_spec(rng)
        mine, net = fingerprint(LanguageModel(spec)), describe_net(spec)
        for _ in range(CHANGES_OF_EACH):
            other = change_one_option(spec, rng)
            if other == spec:
                continue
            is_same = describe_net(other) == net
            n_changed += not is_same
            assert (fingerprint(LanguageModel(other)) == mine) == is_same, spec.diff(other)


@pytest.mark.parametrize(("d_model", "n_layers"), [(16, 5), (32, 1), (72, 3)])
def test_a_generated_file_builds_other_sizes_as_the_spec_does(d_model, n_layers):
    rng = random.Random(d_model)
    for _ in range(4):
        spec = draw_spec(rng)
        sized = spec.with_size(d_model=d_model, n_layers=n_layers, vocab_size=17)
        generated = run(generate(spec)).build(17, d_model, n_layers)
        assert fingerprint(generated) == fingerprint(LanguageModel(sized))


def test_a_width_that_the_heads_do_not_divide_is_refused_with_what_is_allowed():
    text = """
    d_model: 48
    layers: [mha, {mixer: gqa, options: {n_heads: 6, n_kv_heads: 2}}]
    channel: mlp
    """
    build = run(generate(ArchSpec.from_yaml(text))).build
    assert math.lcm(4 * 2, 6 * 2) == 24
    assert sum(p.numel() for p in build(d_model=72).parameters()) > 0
    for d_model in (0, -24, 12, 36, 47):
        with pytest.raises(ValueError, match="a multiple of 24"):
            build(d_model=d_model)
    with pytest.raises(ValueError, match="2 or more"):
        build(vocab_size=1)
    with pytest.raises(ValueError, match="1 or more"):
        build(n_layers=0)
