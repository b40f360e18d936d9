"""The YAML of an architecture: patterns, short forms, and faults with their line."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.core.layer_pattern import PatternError, expand, fold
from arcfusion.core.spec import ArchSpec, SpecError

WIDTH = "d_model: 64\n"


def kinds(text) -> list[str]:
    return [layer.mixer.kind for layer in ArchSpec.from_yaml(text).layers]


PATTERNS = [
    ("[a, b] * 2", "a b a b"),
    ("[a]", "a"),
    ("a", "a"),
    ("a * 3", "a a a"),
    ("3 * [a]", "a a a"),
    ("[a, b,]", "a b"),
    ("[a] + [b, c] * 2 + a", "a b c b c a"),
    ("[[a, b] * 2, c] * 2", "a b a b c a b a b c"),
    ("[a * 2, b]", "a a b"),
    ("[a]*2*2", "a a a a"),
    ("[ a ,b ]\n  * 2", "a b a b"),
]


@pytest.mark.parametrize(("pattern", "names"), PATTERNS)
def test_a_pattern_spells_its_layers(pattern, names):
    assert expand(pattern) == names.split()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[a", "expected ',' or '\\]', found the end"),
        ("[a] * 0", "a count of at least 1"),
        ("[a] *", "expected a count such as 4, found the end"),
        ("[a] * b", "expected a count such as 4, found 'b'"),
        ("[a] b", "expected '\\+', '\\*' or the end, found 'b'"),
        ("[a] - b", "found '-' at character 5"),
        ("2 [a]", "'\\*' after the count"),
        ("+ a", "a component's name"),
        ("", "found the end"),
        ("[a] * 257", "spells 257 layers: at most 256"),
        ("[[a] * 100] * 100", "spells 10000 layers"),
        ("a * 99999999999999999999", "at most 256"),
        ("[" * 5000, "a component's name"),
    ],
)
def test_a_faulty_pattern_says_what_was_expected(pattern, message):
    with pytest.raises(PatternError, match=message):
        expand(pattern)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=12), st.integers(1, 6))
def test_folding_is_undone_by_spelling_out(names, times):
    assert expand(fold(names * times)) == names * times
    assert fold(names * times).count(",") < len(names)


YAMLS = [
    ("layers: [mamba1, mamba1, mha] * 2\n", "mamba1 mamba1 mha mamba1 mamba1 mha"),
    ("layers: [mha, gqa]\n", "mha gqa"),
    ("layers: mha * 2\n", "mha mha"),
    ("layers: '[mha, gqa] * 2' # twice\n", "mha gqa mha gqa"),
    ("layers: [mha, gqa] * 2   # [twice] * 2\n", "mha gqa mha gqa"),
    ("layers: [mha] * 2 + [gqa]\nnorm: layernorm\n", "mha mha gqa"),
    ("layers: [mha,\n  gqa] * 2\nnorm: layernorm\n", "mha gqa mha gqa"),
    ("layers: [[mha] * 2, gqa]\n", "mha mha gqa"),
    ("layers: 2 * [mha]\n", "mha mha"),
    ("layers:\n  - [mha, gqa] * 2\n  - mqa\n", "mha gqa mha gqa mqa"),
    ("layers:\n- '[mha] * 2'\n- {mixer: gqa}\n", "mha mha gqa"),
    ("layers: [{mixer: gqa, options: {n_kv_heads: 1}}, mha]\n", "gqa mha"),
    ("layers:\n  - mha\n  - [gqa, mqa]\n", "mha gqa mqa"),
    ("layers:\n  [mha, gqa]\n", "mha gqa"),
]


@pytest.mark.parametrize(("text", "names"), YAMLS)
def test_layers_can_be_written_short(text, names):
    assert kinds(WIDTH + text) == names.split()
    assert kinds(text + WIDTH) == names.split()
    assert kinds((WIDTH + text).replace("\n", "\r\n")) == names.split()


def test_defaults_by_kind_and_options_of_one_layer():
    spec = ArchSpec.from_yaml(
        """
name: mixed
d_model: 64
channel: swiglu
options:
  mha: {n_heads: 8}
  swiglu: {ratio: 2}
layers:
  - mha
  - {mixer: mha, options: {n_heads: 2}, channel: mlp, channel_options: {ratio: 3}}
  - mixer: {kind: mha, options: {n_heads: 1}}
    channel_options: {ratio: 1}
"""
    )
    assert [layer.mixer.options["n_heads"] for layer in spec.layers] == [8, 2, 1]
    assert [layer.channel.kind for layer in spec.layers] == ["swiglu", "mlp", "swiglu"]
    assert [layer.channel.options["ratio"] for layer in spec.layers] == [2, 3, 1]


def test_a_regular_spec_is_written_as_a_pattern():
    text = ArchSpec.preset("hybrid").to_yaml()
    assert "layers: [mamba1, mha] * 2\n" in text
    assert "channel: mlp\n" in text


REFUSED = [
    ("", "line 1: an architecture is a mapping"),
    ("- mha\n", "line 1: an architecture is a mapping"),
    ("d_model: 64\n", "layers is missing"),
    ("layers: [mha]\n", "d_model is missing"),
    (WIDTH + "layers: [mha\nnorm: rmsnorm\n", "line 3: malformed YAML"),
    (WIDTH + "layers: [mha]\n   norm: : x\n", "line 3: malformed YAML"),
    (WIDTH + "layers: [mha]\n\tnorm: x\n", "line 3: malformed YAML: found character '.t'"),
    (WIDTH + "layers: [mha] x\n", "line 2: malformed YAML"),
    (WIDTH + "layers: [mha]\nd_model: 32\n", "line 3: 'd_model' is given twice"),
    (WIDTH + "layers: [{mixer: mha, mixer: gqa}]\n", "line 2: 'mixer' is given twice"),
    (
        WIDTH + "layers: [mha]\nd_modle: 1\n",
        "line 3: unknown key 'd_modle' .did you mean 'd_model'",
    ),
    (WIDTH + "layers: [mha] * x\n", "line 2: layer pattern .* a count such as 4"),
    (WIDTH + "layers: [mha] * 1000\n", "line 2: .*at most 256"),
    (WIDTH + "layers: 3\n", "line 2: layer 3: a layer is a mixer's name"),
    (WIDTH + "layers: [mha, null]\n", "line 2: layer None"),
    (WIDTH + "layers: [{channel: mlp}]\n", "has no mixer"),
    (
        WIDTH + "layers: [{mixer: mha, chanel: mlp}]\n",
        "unknown key 'chanel' .did you mean 'channel'",
    ),
    (WIDTH + "layers: [{mixer: {name: mha}}]\n", "mixer: unknown key 'name'"),
    (WIDTH + "layers: [{mixer: 4}]\n", "mixer is 4: it is a component's name"),
    (WIDTH + "layers: [{mixer: mha, options: 4}]\n", "mixer options are 4"),
    (WIDTH + "layers: [mha]\noptions: [mha]\n", "options is .*it maps a component to its options"),
    (WIDTH + "layers: [mha]\noptions: {gqa: {n_heads: 4}}\n", "'gqa', which no layer uses"),
    (
        WIDTH + "layers: [mha]\nchannel: relu\n",
        "unknown channel mixer 'relu': known are mlp, swiglu",
    ),
    (WIDTH + "layers: []\n", "layers has 0 items: allowed are 1 to 256"),
    ("1: 2\n", "line 1: a key must be a plain word, not '1'"),
    ("layers: " + "[" * 3000 + "\n", "nested too deeply"),
    ("name: !!python/object/apply:os.system [id]\n", "line 1: .*os.system is not allowed"),
    ("name: !!int x\n", "not what it looks like .*'x'"),
    ("d_model: 0x_\n", "not what it looks like"),
    ("tied_head: !!bool maybe\n", "not what it looks like"),
    (WIDTH + "name: 2020-99-99\nlayers: [mha]\n", "line 2: .*timestamp is not allowed"),
    (WIDTH + "layers: [&a [mha], *a]\n", "line 2: an alias"),
    ("layers: &a [*a]\n", "line 1: an alias"),
    ("d_model: 64\x00\n", "malformed YAML"),
    ("a: 1\n---\nb: 2\n", "line 2: malformed YAML"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_faulty_document_is_one_clear_error(text, message):
    with pytest.raises(SpecError, match=message):
        ArchSpec.from_yaml(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="layers: []{}*+,-\n'\"#&mha2d_ol4", max_size=60))
def test_any_text_is_a_spec_or_a_spec_error(text):
    for document in (text, f"{WIDTH}layers: {text}"):
        with contextlib.suppress(SpecError):
            assert ArchSpec.from_yaml(document).layers
