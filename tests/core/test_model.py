"""LanguageModel: stepping equals the whole, generation, seeds, and what the keys are called."""

import pytest
import torch

from arcfusion.core.model import LanguageModel
from arcfusion.core.network import embedding_std
from arcfusion.core.spec import ArchSpec

POSITIONS = ["rope", "learned", "none"]
MIXED = ArchSpec.from_yaml(
    "d_model: 32\nvocab_size: 50\nmax_seq_len: 40\nlayers: [mamba1, gqa, linear_attention, mqa]\n"
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_ids(spec, *shape, seed=0) -> torch.Tensor:
    return torch.randint(spec.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("position", POSITIONS)
def test_stepping_a_model_equals_the_whole_sequence(position, norm, tied_head):
    spec = MIXED.replaced(position=position, norm=norm, tied_head=tied_head)
    model = LanguageModel(spec, seed=0)
    ids_BT = random_ids(spec, 3, 37)
    state = model.initial_state(3)
    steps = []
    with torch.no_grad():
        for ids_B in ids_BT.unbind(1):
            logits_BV, state = model.step(ids_B, state)
            steps.append(logits_BV)
        torch.testing.assert_close(torch.stack(steps, 1), model(ids_BT), atol=1e-5, rtol=0)
    assert state.n_tokens == 37


@pytest.mark.parametrize("position", POSITIONS)
def test_the_future_does_not_change_the_logits(position):
    model = LanguageModel(MIXED.replaced(position=position), seed=0)
    ids_BT = random_ids(MIXED, 2, 21)
    changed_BT = ids_BT.clone()
    changed_BT[:, 10:] = (changed_BT[:, 10:] + 1) % MIXED.vocab_size
    with torch.no_grad():
        logits_BTV, other_BTV = model(ids_BT), model(changed_BT)
    torch.testing.assert_close(logits_BTV[:, :10], other_BTV[:, :10], atol=1e-6, rtol=0)
    assert not torch.allclose(logits_BTV[:, 10], other_BTV[:, 10], atol=1e-3)


def test_one_seed_gives_one_model_and_leaves_the_global_state():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = LanguageModel(MIXED, seed=1).state_dict()
    assert torch.equal(torch.rand(3), expected)
    again, other = (
        LanguageModel(MIXED, seed=1).state_dict(),
        LanguageModel(MIXED, seed=2).state_dict(),
    )
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


def test_without_a_seed_the_global_state_gives_the_weights():
    torch.manual_seed(3)
    one = LanguageModel(MIXED)
    other = LanguageModel(MIXED)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert torch.equal(one.embedding.weight, LanguageModel(MIXED, seed=3).embedding.weight)


def test_the_weights_have_readable_names():
    spec = ArchSpec.from_yaml(
        "d_model: 16\nlayers: [mha, mamba1]\nposition: learned\ntied_head: false\n"
        "norm: layernorm\nchannel: swiglu\n"
    )
    layer = "layers.0."
    assert list(LanguageModel(spec).state_dict()) == [
        "embedding.weight",
        "position.weight",
        *(f"{layer}mixer_norm.{name}" for name in ("weight", "bias")),
        *(f"{layer}mixer.{name}_proj.weight" for name in ("q", "k", "v", "out")),
        *(f"{layer}channel_norm.{name}" for name in ("weight", "bias")),
        *(f"{layer}channel.{name}_proj.weight" for name in ("gate", "up", "out")),
        *(f"layers.1.mixer_norm.{name}" for name in ("weight", "bias")),
        *(
            f"layers.1.mixer.{name}"
            for name in ("conv_weight", "conv_bias", "dt_weight", "dt_bias", "A_log", "D")
        ),
        *(f"layers.1.mixer.{name}_proj.weight" for name in ("in", "x", "out")),
        *(f"layers.1.channel_norm.{name}" for name in ("weight", "bias")),
        *(f"layers.1.channel.{name}_proj.weight" for name in ("gate", "up", "out")),
        "norm.weight",
        "norm.bias",
        "head.weight",
    ]


def test_residual_projections_start_smaller_in_a_deeper_model():
    spec = ArchSpec.preset("mha")
    for n_layers in (1, 8):
        layer = LanguageModel(spec.with_size(n_layers=n_layers), seed=0).layers[0]
        expected = 0.02 / (2 * n_layers) ** 0.5
        for branch in (layer.mixer, layer.channel):
            assert branch.out_proj.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert layer.mixer.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_embedding_starts_at_gpt2s_deviation_unless_the_model_is_wide():
    assert embedding_std(256, 64, tied_head=True) == 0.02
    assert embedding_std(256, 1024, tied_head=True) < 0.02
    assert embedding_std(256, 1024, tied_head=False) < 0.02
    assert embedding_std(50_257, 768, tied_head=False) == pytest.approx(0.0168, abs=1e-3)


def test_the_loss_is_the_mean_negative_log_likelihood():
    model = LanguageModel(MIXED, seed=0)
    ids_BT, targets_BT = random_ids(MIXED, 2, 9), random_ids(MIXED, 2, 9, seed=1)
    log_p_BTV = model(ids_BT).double().log_softmax(-1)
    expected = -log_p_BTV.gather(-1, targets_BT[..., None]).mean()
    assert model.loss(ids_BT, targets_BT).item() == pytest.approx(expected.item(), rel=1e-6)


def test_greedy_generation_takes_the_most_likely_token_each_time():
    model = LanguageModel(MIXED, seed=0)
    prompt_BT = random_ids(MIXED, 2, 5)
    ids_BT = model.generate(prompt_BT, 6, temperature=0)
    assert ids_BT.shape == (2, 11)
    assert torch.equal(ids_BT[:, :5], prompt_BT)
    with torch.no_grad():
        assert torch.equal(model(ids_BT[:, :-1])[:, 4:].argmax(-1), ids_BT[:, 5:])
    assert torch.equal(model.generate(prompt_BT, 0), prompt_BT)


def test_drawn_tokens_follow_the_seed_and_top_k():
    model = LanguageModel(MIXED, seed=0)
    prompt_BT = random_ids(MIXED, 4, 3)
    before = torch.get_rng_state()
    one = model.generate(prompt_BT, 20, seed=1)
    assert torch.equal(one, model.generate(prompt_BT, 20, seed=1))
    assert not torch.equal(one, model.generate(prompt_BT, 20, seed=2))
    assert torch.equal(torch.get_rng_state(), before)
    greedy = model.generate(prompt_BT, 20, temperature=0)
    assert torch.equal(model.generate(prompt_BT, 20, top_k=1), greedy)
    assert torch.equal(model.generate(prompt_BT, 20, temperature=1e-4), greedy)
    assert model.generate(prompt_BT, 2, top_k=10_000).shape == (4, 5)


def test_drawn_tokens_follow_their_probabilities():
    model = LanguageModel(MIXED.replaced(vocab_size=3), seed=0)
    with torch.no_grad():
        model.embedding.weight.mul_(10)
    prompt_BT = torch.zeros(4000, 1, dtype=torch.int64)
    drawn = model.generate(prompt_BT, 1, temperature=0.5, seed=0)[:, 1]
    with torch.no_grad():
        expected_V = (model(prompt_BT[:1])[0, 0] / 0.5).softmax(-1)
    frequency_V = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(frequency_V, expected_V, atol=0.04, rtol=0)


def test_generation_refuses_what_it_can_not_do():
    model = LanguageModel(MIXED.replaced(position="learned"), seed=0)
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.generate(random_ids(MIXED, 1, 0), 3)
    with pytest.raises(ValueError, match="temperature -1"):
        model.generate(random_ids(MIXED, 1, 2), 3, temperature=-1)
    with pytest.raises(ValueError, match="top_k 0"):
        model.generate(random_ids(MIXED, 1, 2), 3, top_k=0)
    assert model.generate(random_ids(MIXED, 1, 2), 39).shape == (1, 41)
    with pytest.raises(ValueError, match="max_seq_len 40"):
        model.generate(random_ids(MIXED, 1, 2), 40)


def test_learned_positions_end_at_max_seq_len_and_rope_does_not():
    with pytest.raises(ValueError, match=r"41 tokens is too long.*max_seq_len 40"):
        LanguageModel(MIXED.replaced(position="learned"), seed=0)(random_ids(MIXED, 1, 41))
    assert LanguageModel(MIXED, seed=0)(random_ids(MIXED, 1, 41)).shape == (1, 41, 50)


def test_a_tied_head_is_the_embedding():
    tied = LanguageModel(MIXED, seed=0)
    untied = LanguageModel(MIXED.replaced(tied_head=False), seed=0)
    count = {m: sum(p.numel() for p in m.parameters()) for m in (tied, untied)}
    assert count[untied] - count[tied] == MIXED.vocab_size * MIXED.d_model
    assert "head.weight" not in tied.state_dict()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_runs_and_steps_in_other_dtypes(dtype):
    model = LanguageModel(MIXED, seed=0).to(dtype)
    ids_BT = random_ids(MIXED, 2, 9)
    assert model(ids_BT).dtype == dtype
    assert model.loss(ids_BT, ids_BT).isfinite()
    logits_BV, _ = model.step(ids_BT[:, 0], model.initial_state(2))
    assert logits_BV.dtype == dtype


def test_a_model_runs_under_autocast():
    model = LanguageModel(MIXED, seed=0)
    ids_BT = random_ids(MIXED, 2, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(ids_BT, ids_BT)
    loss.backward()
    assert loss.item() == pytest.approx(model.loss(ids_BT, ids_BT).item(), rel=0.01)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_small_model_learns_to_repeat_a_pattern():
    spec = MIXED.with_size(n_layers=2).replaced(vocab_size=16)
    model = LanguageModel(spec, seed=0)
    ids_BT = torch.arange(5).repeat(4, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(ids_BT[:, :-1], ids_BT[:, 1:]).backward()
        optimizer.step()
    assert model.loss(ids_BT[:, :-1], ids_BT[:, 1:]).item() < 0.1
