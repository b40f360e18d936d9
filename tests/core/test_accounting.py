"""Accounting: parameters are exact, states are measured, the rest follows its formula."""

import random

import pytest
import torch

from arcfusion.core.accounting import account
from arcfusion.core.blocks import CHANNELS, MIXERS
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec, preset_names


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_layer(rng) -> dict:
    kind = rng.choice(list(MIXERS))
    heads = rng.choice([1, 2, 4])
    options = {"n_heads": heads}
    if kind == "gqa":
        options["n_kv_heads"] = rng.choice([n for n in (1, 2, 4) if n <= heads])
    if kind == "mamba1":
        options = {
            "d_state": rng.randint(1, 9),
            "d_conv": rng.randint(1, 5),
            "expand": rng.randint(1, 3),
            "dt_rank": rng.randint(0, 5),
        }
    channel = {"kind": rng.choice(list(CHANNELS)), "options": {"ratio": rng.uniform(0.1, 6)}}
    return {"mixer": {"kind": kind, "options": options}, "channel": channel}


def random_spec(seed) -> ArchSpec:
    rng = random.Random(seed)
    return ArchSpec.from_dict(
        {
            "vocab_size": rng.randint(2, 300),
            "d_model": 8 * rng.randint(1, 6),
            "layers": [random_layer(rng) for _ in range(rng.randint(1, 4))],
            "norm": rng.choice(["rmsnorm", "layernorm"]),
            "position": rng.choice(["rope", "learned", "none"]),
            "max_seq_len": rng.randint(1, 100),
            "tied_head": rng.random() < 0.5,
        }
    )


def saved_bytes(spec, batch_size, context) -> int:
    """Measure what autograd keeps for the backward pass, weights not counted."""
    model = LanguageModel(spec, seed=0)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids_BT = torch.zeros(batch_size, context, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(ids_BT, ids_BT)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_parameters_are_exact_for_200_random_specs():
    for seed in range(200):
        spec = random_spec(seed)
        built = sum(parameter.numel() for parameter in LanguageModel(spec).parameters())
        assert account(spec).parameters == built, spec.to_yaml()


@pytest.mark.parametrize("seed", range(8))
def test_states_take_the_bytes_that_are_accounted(seed):
    spec = random_spec(seed)
    context = min(7, spec.max_seq_len)
    model = LanguageModel(spec, seed=0)
    state = model.initial_state(1)
    with torch.no_grad():
        for _ in range(context):
            _, state = model.step(torch.zeros(1, dtype=torch.int64), state)
    measured = sum(part.numel() * part.element_size() for layer in state.layers for part in layer)
    costs = account(spec, context=context)
    assert costs.state_bytes + costs.kv_bytes == measured


@pytest.mark.parametrize("name", preset_names())
def test_activations_are_estimated_within_a_third(name):
    spec = ArchSpec.preset(name)
    costs = account(spec, context=64, batch_size=2)
    estimate = costs.training_memory_bytes - 16 * costs.parameters
    assert estimate == pytest.approx(saved_bytes(spec, 2, 64), rel=0.33)


def test_forward_flops_of_a_transformer_are_two_a_weight_and_attention():
    spec = ArchSpec.preset("mha")
    costs = account(spec, context=128)
    matrices = costs.parameters - 9 * 64
    attention = 4 * 4 * 64 * (128 + 1) / 2
    norms = 9 * 4 * 64
    assert costs.forward_flops_per_token == 2 * matrices + attention + norms
    assert costs.training_flops_per_token == 3 * costs.forward_flops_per_token


def test_only_attention_costs_more_a_token_in_a_longer_context():
    for name, grows in (("mha", True), ("mamba", False), ("linear-attention", False)):
        spec = ArchSpec.preset(name)
        short, long = account(spec, context=64), account(spec, context=640)
        assert (long.forward_flops_per_token > short.forward_flops_per_token) is grows
        assert (long.kv_bytes == 10 * short.kv_bytes > 0) is grows
        assert long.state_bytes == short.state_bytes
        assert (short.state_bytes == 0) is grows


def test_caches_shrink_with_their_heads_and_their_dtype():
    full, grouped, single = (account(ArchSpec.preset(name)) for name in ("mha", "gqa", "mqa"))
    assert full.kv_bytes == 2 * grouped.kv_bytes == 4 * single.kv_bytes
    assert full.kv_bytes == 4 * 2 * 1024 * 64 * 4
    half = account(ArchSpec.preset("mha"), bytes_per_value=2)
    assert half.kv_bytes * 2 == full.kv_bytes


def test_training_memory_grows_with_batch_and_context():
    spec = ArchSpec.preset("tiny")
    base = account(spec, context=32, batch_size=2)
    fixed = 16 * base.parameters
    double = account(spec, context=64, batch_size=2)
    assert double.training_memory_bytes - fixed == 2 * (base.training_memory_bytes - fixed)
    assert (
        double.training_memory_bytes
        == account(spec, context=32, batch_size=4).training_memory_bytes
    )
    assert account(spec).context == spec.max_seq_len
