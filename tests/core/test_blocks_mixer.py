"""Every mixer keeps one contract: shape, dtype, gradient, causality, and stepping as the whole."""

import pytest
import torch

from arcfusion.core.blocks import MIXERS, load_component
from arcfusion.core.blocks.attention import Attention
from arcfusion.core.blocks.component import Component
from arcfusion.core.blocks.linear_attention import CHUNK, LinearAttention
from arcfusion.core.blocks.mamba1 import Mamba1
from arcfusion.core.blocks.mixer import Mixer
from arcfusion.core.blocks.rope import apply_rope
from arcfusion.core.spec import ArchSpec

D_MODEL = 64
CASES = [(name, position) for name in MIXERS for position in ("rope", "none")]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name, position="rope", dtype=torch.float32, **options) -> Mixer:
    component = load_component(name)
    spec = ArchSpec.preset("mha").replaced(position=position)
    arguments = component.arguments(component.options(**options), D_MODEL, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = component.load_factory()(**arguments)
    assert isinstance(module, Mixer)
    # Small initial weights make every mixer nearly linear; larger ones let each path count.
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2 and parameter is not getattr(module, "A_log", None):
                parameter.mul_(5)
    return module.to(dtype)


def sequence(n_tokens, batch_size=2, dtype=torch.float32, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, n_tokens, D_MODEL, generator=generator).to(dtype)


def step_through(mixer, x_BTD) -> torch.Tensor:
    state = mixer.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
    outputs = []
    for x_BD in x_BTD.unbind(1):
        y_BD, state = mixer.step(x_BD, state)
        outputs.append(y_BD)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("n_tokens", [1, 2, 37])
@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_keeps_shape_and_dtype(name, n_tokens, dtype):
    component: Component = load_component(name)
    x_BTD = sequence(n_tokens, dtype=dtype)
    y_BTD = build(name, dtype=dtype)(x_BTD)
    sizes = {"B": 2, "T": n_tokens, "D": D_MODEL}
    assert component.output_port.problems(y_BTD.shape, str(y_BTD.dtype), sizes) == []
    assert y_BTD.dtype == dtype
    assert y_BTD.isfinite().all()


@pytest.mark.parametrize(("name", "position"), CASES)
def test_the_gradient_reaches_every_parameter_of_a_mixer(name, position):
    mixer = build(name, position)
    mixer(sequence(9)).square().sum().backward()
    for key, parameter in mixer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert (parameter.grad != 0).any(), key


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "position"), CASES)
def test_the_future_does_not_change_a_mixers_past(name, position, training):
    mixer = build(name, position).train(training)
    x_BTD = sequence(131)
    for cut in (1, 64, 130):
        changed_BTD = x_BTD.clone()
        changed_BTD[:, cut:] = sequence(131, seed=2)[:, cut:]
        y_BTD, other_BTD = mixer(x_BTD), mixer(changed_BTD)
        torch.testing.assert_close(y_BTD[:, :cut], other_BTD[:, :cut], atol=1e-6, rtol=1e-5)
        assert not torch.allclose(y_BTD[:, cut], other_BTD[:, cut], atol=1e-4)


@pytest.mark.parametrize(("name", "position"), CASES)
def test_a_mixers_output_depends_on_the_past(name, position):
    mixer = build(name, position)
    x_BTD = sequence(24)
    changed_BTD = x_BTD.clone()
    changed_BTD[:, 20] += 1
    assert (mixer(x_BTD) - mixer(changed_BTD))[:, 23].abs().max() > 1e-5


@pytest.mark.parametrize("n_tokens", [1, 2, 63, 65])
@pytest.mark.parametrize(("name", "position"), CASES)
def test_stepping_a_mixer_equals_the_whole_sequence(name, position, n_tokens):
    mixer = build(name, position, torch.float64)
    x_BTD = sequence(n_tokens, dtype=torch.float64)
    stepped_BTD = step_through(mixer, x_BTD)
    torch.testing.assert_close(stepped_BTD, mixer(x_BTD), atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", MIXERS)
def test_stepping_a_mixer_in_bf16_stays_near_the_whole_sequence(name):
    mixer = build(name, dtype=torch.bfloat16)
    x_BTD = sequence(17, dtype=torch.bfloat16)
    whole_BTD = mixer(x_BTD)
    error = (step_through(mixer, x_BTD) - whole_BTD).abs().max()
    assert error < 0.03 * whole_BTD.abs().max()


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_does_not_mix_sequences_of_a_batch(name):
    mixer = build(name)
    x_BTD = sequence(33, batch_size=3)
    changed_BTD = x_BTD.clone()
    changed_BTD[1] = sequence(33, batch_size=1, seed=2)[0]
    y_BTD, other_BTD = mixer(x_BTD), mixer(changed_BTD)
    torch.testing.assert_close(y_BTD[[0, 2]], other_BTD[[0, 2]], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(y_BTD[:1], mixer(x_BTD[:1]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
def test_a_step_leaves_the_state_that_it_was_given_as_it_was(name):
    mixer = build(name)
    x_BTD = sequence(3)
    state = mixer.initial_state(2, x_BTD.device, x_BTD.dtype)
    _, state = mixer.step(x_BTD[:, 0], state)
    before = [part.clone() for part in state]
    first_BD, _ = mixer.step(x_BTD[:, 1], state)
    again_BD, _ = mixer.step(x_BTD[:, 1], state)
    assert torch.equal(first_BD, again_BD)
    assert all(torch.equal(part, old) for part, old in zip(state, before, strict=True))


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixers_state_takes_the_bytes_that_its_record_says(name):
    component = load_component(name)
    mixer = build(name)
    x_BTD = sequence(5, batch_size=1)
    state = mixer.initial_state(1, x_BTD.device, x_BTD.dtype)
    for x_BD in x_BTD.unbind(1):
        _, state = mixer.step(x_BD, state)
    said = component.state_bytes(component.options(), D_MODEL, 5, 4)
    assert sum(part.numel() * part.element_size() for part in state) == said.recurrent + said.kv


def test_attention_equals_its_definition():
    mixer = Attention(8, 4, 2, rope=False).double()
    x_BTD = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 6, 8, dtype=torch.float64)
    q, k, v = mixer.q_proj(x_BTD), mixer.k_proj(x_BTD), mixer.v_proj(x_BTD)
    for head in range(4):
        own, shared = slice(2 * head, 2 * head + 2), slice(head // 2 * 2, head // 2 * 2 + 2)
        scores = q[..., own] @ k[..., shared].transpose(1, 2) / 2**0.5
        future = torch.ones(6, 6, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        expected[..., own] = weights @ v[..., shared]
    torch.testing.assert_close(mixer(x_BTD), mixer.out_proj(expected), atol=1e-12, rtol=1e-10)


def test_linear_attention_equals_its_definition_across_chunks():
    mixer = LinearAttention(8, 2).double()
    n_tokens = 2 * CHUNK + 3
    x_BTD = torch.randn(1, n_tokens, 8, dtype=torch.float64)
    expected = torch.zeros(1, n_tokens, 8, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        q = torch.nn.functional.elu(mixer.q_proj(x_BTD)[0, :, head]) + 1
        k = torch.nn.functional.elu(mixer.k_proj(x_BTD)[0, :, head]) + 1
        weights = (q @ k.T).tril()
        values = mixer.v_proj(x_BTD)[0, :, head]
        expected[0, :, head] = weights @ values / (weights.sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(mixer(x_BTD), mixer.out_proj(expected), atol=1e-12, rtol=1e-9)


def test_mamba_equals_its_recurrence():
    mixer = Mamba1(8, d_state=3, d_conv=2, expand=2, dt_rank=1).double()
    x_BTD = torch.randn(1, 7, 8, dtype=torch.float64)
    u, z = mixer.in_proj(x_BTD[0]).chunk(2, dim=-1)
    before = torch.cat((torch.zeros(1, 16, dtype=torch.float64), u[:-1]))
    weight = mixer.conv_weight
    u = torch.nn.functional.silu(before * weight[:, 0] + u * weight[:, 1] + mixer.conv_bias)
    dt, B, C = mixer.x_proj(u).split([1, 3, 3], dim=-1)
    dt = torch.nn.functional.softplus(dt @ mixer.dt_weight.T + mixer.dt_bias)
    h, rows = torch.zeros(16, 3, dtype=torch.float64), []
    for t in range(7):
        h = (
            torch.exp(-dt[t, :, None] * mixer.A_log.exp()) * h
            + dt[t, :, None] * B[t] * u[t, :, None]
        )
        rows.append(h @ C[t] + mixer.D * u[t])
    expected = mixer.out_proj(torch.stack(rows) * torch.nn.functional.silu(z))
    torch.testing.assert_close(mixer(x_BTD)[0], expected, atol=1e-10, rtol=1e-8)


def test_mamba_starts_with_the_steps_and_decays_of_the_paper():
    mixer = Mamba1(64, d_state=16, d_conv=4, expand=2, dt_rank=4)
    steps = torch.nn.functional.softplus(mixer.dt_bias)
    assert steps.min() >= 0.99e-3
    assert steps.max() <= 0.101
    assert steps.min() < 3e-3
    assert steps.max() > 0.03
    decays = -mixer.A_log.exp()
    torch.testing.assert_close(decays, -torch.arange(1.0, 17.0).expand(128, 16))


def test_rope_scores_depend_on_the_distance_only():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=generator).unbind(0)

    def score(query_at, key_at):
        return (apply_rope(q, query_at) * apply_rope(k, key_at)).sum().item()

    assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-9)
    assert score(7, 3) != pytest.approx(score(7, 4), abs=1e-3)
    assert apply_rope(q, 5).norm().item() == pytest.approx(q.norm().item())


def test_attention_without_rope_does_not_see_the_order_of_the_past():
    with_rope, without = build("mha", "rope"), build("mha", "none")
    x_BTD = sequence(8)
    swapped_BTD = x_BTD[:, [1, 0, *range(2, 8)]]
    last = slice(7, 8)
    torch.testing.assert_close(
        without(x_BTD)[:, last], without(swapped_BTD)[:, last], atol=1e-6, rtol=1e-5
    )
    assert not torch.allclose(with_rope(x_BTD)[:, last], with_rope(swapped_BTD)[:, last], atol=1e-4)
