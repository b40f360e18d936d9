"""ArchSpec: what it accepts, what it refuses and how, and that it is one canonical value."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.core.errors import BadInputError, ExitCode
from arcfusion.core.spec import ArchSpec, Choice, LayerSpec, SpecError

HEADS = st.sampled_from([1, 2, 4, 8])
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)


@st.composite
def mixers(draw):
    kind = draw(st.sampled_from(["mha", "gqa", "mqa", "linear_attention", "mamba1"]))
    if kind == "mamba1":
        options = {
            "d_state": draw(st.integers(1, 256)),
            "d_conv": draw(st.integers(1, 8)),
            "expand": draw(st.integers(1, 8)),
            "dt_rank": draw(st.integers(0, 64)),
        }
    else:
        options = {"n_heads": draw(HEADS)}
        if kind == "gqa":
            heads = options["n_heads"]
            options["n_kv_heads"] = draw(st.sampled_from([n for n in (1, 2, 4, 8) if n <= heads]))
    chosen = draw(st.sets(st.sampled_from(sorted(options))))
    if kind == "gqa":
        chosen = set(options)
    return {"kind": kind, "options": {key: options[key] for key in sorted(chosen)}}


@st.composite
def channels(draw):
    kind = draw(st.sampled_from(["mlp", "swiglu"]))
    ratio = st.floats(0.01, 16, allow_subnormal=False)
    return {"kind": kind, "options": draw(st.fixed_dictionaries({}, optional={"ratio": ratio}))}


@st.composite
def specs(draw):
    layer = st.fixed_dictionaries({"mixer": mixers(), "channel": channels()})
    return ArchSpec.from_dict(
        {
            "name": draw(NAMES),
            "vocab_size": draw(st.integers(2, 1_000_000)),
            "d_model": 16 * draw(st.integers(1, 64)),
            "layers": draw(st.lists(layer, min_size=1, max_size=6)),
            "norm": draw(st.sampled_from(["rmsnorm", "layernorm"])),
            "position": draw(st.sampled_from(["rope", "learned", "none"])),
            "max_seq_len": draw(st.integers(1, 1_048_576)),
            "tied_head": draw(st.booleans()),
        }
    )


def arch(**changes):
    data = {
        "d_model": 64,
        "layers": [{"mixer": {"kind": "mha"}, "channel": {"kind": "mlp"}}],
        **changes,
    }
    return ArchSpec.from_dict(data)


@settings(max_examples=60, deadline=None)
@given(specs())
def test_yaml_and_json_give_back_the_same_spec(spec):
    assert ArchSpec.from_yaml(spec.to_yaml()) == spec
    through_json = ArchSpec.from_dict(json.loads(json.dumps(spec.canonical())))
    assert through_json.canonical() == spec.canonical()
    assert through_json.digest() == spec.digest()
    assert ArchSpec.from_yaml(json.dumps(spec.canonical())).digest() == spec.digest()


@settings(max_examples=40, deadline=None)
@given(specs(), specs())
def test_two_specs_differ_exactly_when_their_digests_do(one, other):
    assert one.diff(one) == []
    assert (one.diff(other) == []) == (one.digest() == other.digest())
    assert len(one.diff(other)) == len(other.diff(one))


@settings(max_examples=40, deadline=None)
@given(specs(), st.integers(1, 12))
def test_resizing_repeats_or_cuts_the_layers(spec, n_layers):
    sized = spec.with_size(n_layers=n_layers)
    assert len(sized.layers) == n_layers
    assert all(
        layer == spec.layers[index % len(spec.layers)] for index, layer in enumerate(sized.layers)
    )
    assert spec.with_size() == spec


def test_the_name_is_no_part_of_the_identity():
    assert arch(name="a").digest() == arch(name="b").digest()
    assert "name" not in arch().canonical()


def test_an_option_left_out_and_its_default_are_the_same_spec():
    written = {"kind": "mamba1", "options": {"dt_rank": 4, "d_state": 16, "d_conv": 4}}
    one = arch(layers=[{"mixer": {"kind": "mamba1"}, "channel": {"kind": "mlp"}}])
    other = arch(layers=[{"mixer": written, "channel": {"kind": "mlp", "options": {"ratio": 4}}}])
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest() == other.digest()
    assert one.layers[0].mixer.options == {"d_state": 16, "d_conv": 4, "expand": 2, "dt_rank": 4}


def test_automatic_options_follow_the_width_and_chosen_ones_stay():
    layers = [
        {"mixer": {"kind": "mamba1"}, "channel": {"kind": "swiglu"}},
        {"mixer": {"kind": "mamba1", "options": {"dt_rank": 9}}, "channel": {"kind": "mlp"}},
    ]
    wide = arch(layers=layers).with_size(d_model=128)
    assert [layer.mixer.options["dt_rank"] for layer in wide.layers] == [8, 9]
    assert wide.layers[0].channel == Choice(kind="swiglu").resolved(128)


def test_a_digest_changes_with_every_field():
    changes = [
        {"vocab_size": 255},
        {"d_model": 128},
        {"norm": "layernorm"},
        {"position": "none"},
        {"max_seq_len": 1023},
        {"tied_head": False},
    ]
    digests = {arch(**change).digest() for change in changes}
    assert len(digests | {arch().digest()}) == len(changes) + 1


def test_a_diff_says_in_words_what_changes():
    one = ArchSpec.from_yaml("d_model: 64\nlayers: [mha, gqa, mha]\n")
    other = ArchSpec.from_yaml(
        "d_model: 128\nlayers: [mha, mamba1]\nposition: none\noptions: {mha: {n_heads: 8}}\n"
    )
    assert one.diff(other) == [
        "d_model: 64 -> 128",
        "position: rope -> none",
        "layers: 3 -> 2",
        "layer 0 mixer mha n_heads: 4 -> 8",
        "layer 1 mixer: gqa -> mamba1",
    ]


def test_a_spec_can_not_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        arch().d_model = 128


REFUSED = [
    ({"d_model": 0}, "d_model is 0: .*greater than or equal to 1"),
    ({"d_model": 16_385}, "less than or equal to 16384"),
    ({"d_model": 64.0}, "d_model is 64.0: .*valid integer"),
    ({"d_model": True}, "d_model is True: .*valid integer"),
    ({"vocab_size": 1}, "vocab_size is 1"),
    ({"max_seq_len": 0}, "max_seq_len is 0"),
    ({"tied_head": "no"}, "tied_head is 'no'"),
    ({"norm": "batch"}, "norm is 'batch': allowed are 'rmsnorm' or 'layernorm'"),
    ({"position": "alibi"}, "allowed are 'rope', 'learned' or 'none'"),
    ({"layers": []}, "layers has 0 items: allowed are 1 to 256"),
    ({"name": ""}, "name is ''"),
    ({"name": "a\nb"}, "name is"),
    ({"depth": 3}, "unknown key 'depth': allowed are name, vocab_size, d_model"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_faulty_field_is_named_with_what_is_allowed(change, message):
    with pytest.raises(SpecError, match=message) as caught:
        arch(**change)
    assert "\n" not in str(caught.value)


LAYERS_REFUSED = [
    ("mha", {"n_heads": 3}, "n_heads 3 does not divide d_model 64: allowed are 1, 2, 4, 8, 16, 32"),
    ("mha", {"n_heads": 64}, "head width 1 .* is odd and position rope .* allowed are n_heads 1,"),
    ("gqa", {"n_kv_heads": 3}, "n_kv_heads 3 does not divide n_heads 4: allowed are 1, 2, 4"),
    ("mha", {"heads": 4}, "mha options: unknown key 'heads': allowed are n_heads"),
    ("rope", {}, "unknown mixer 'rope'"),
    ("mamba", {}, r"unknown mixer 'mamba' \(did you mean 'mamba1'\?\): known are mha, gqa, mqa"),
    ("mha", {"n_heads": 0}, "n_heads is 0"),
    ("mha", {"n_heads": True}, "n_heads is True"),
    ("mha", {"n_heads": "4"}, "n_heads is '4'"),
    ("mamba1", {"d_conv": 9}, "d_conv is 9: .*less than or equal to 8"),
    ("mamba1", {"d_state": 0}, "d_state is 0"),
]


@pytest.mark.parametrize(("kind", "options", "message"), LAYERS_REFUSED)
def test_a_faulty_layer_is_named_with_what_is_allowed(kind, options, message):
    good = {"mixer": {"kind": "mha"}, "channel": {"kind": "mlp"}}
    bad = {"mixer": {"kind": kind, "options": options}, "channel": {"kind": "mlp"}}
    with pytest.raises(SpecError, match=f"layer 1.*{message}"):
        arch(layers=[good, bad])


@pytest.mark.parametrize("ratio", [0, -1, 17, float("nan"), float("inf")])
def test_a_hidden_width_has_bounds(ratio):
    channel = {"kind": "mlp", "options": {"ratio": ratio}}
    with pytest.raises(SpecError, match="ratio is"):
        arch(layers=[{"mixer": {"kind": "mha"}, "channel": channel}])


def test_a_mixer_can_not_stand_for_a_channel_mixer():
    with pytest.raises(SpecError, match="unknown channel mixer 'mha': known are mlp, swiglu"):
        LayerSpec(mixer=Choice(kind="mha"), channel=Choice(kind="mha"))


def test_more_than_256_layers_are_refused():
    layer = {"mixer": {"kind": "mha"}, "channel": {"kind": "mlp"}}
    with pytest.raises(SpecError, match="257 items"):
        arch(layers=[layer] * 257)
    with pytest.raises(SpecError, match="n_layers is 0: allowed are 1 to 256"):
        arch().with_size(n_layers=0)
    with pytest.raises(SpecError, match="does not divide d_model 66"):
        arch().with_size(d_model=66)


def test_odd_heads_are_allowed_where_nothing_rotates():
    for position in ("learned", "none"):
        layer = {"mixer": {"kind": "mha", "options": {"n_heads": 64}}, "channel": {"kind": "mlp"}}
        assert arch(position=position, layers=[layer]).position == position


def test_a_spec_error_is_bad_input():
    with pytest.raises(BadInputError) as caught:
        arch(d_model=-1)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.code == "spec"


def test_grouping_with_one_head_a_group_is_allowed():
    options = {"n_heads": 4, "n_kv_heads": 4}
    spec = arch(layers=[{"mixer": {"kind": "gqa", "options": options}, "channel": {"kind": "mlp"}}])
    assert spec.layers[0].mixer.options == options
