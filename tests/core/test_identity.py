"""The fingerprint: what must not change it, and what must."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from arcfusion.core.identity import fingerprint

V, D, H = 40, 16, 2


def rotate(x, base=100.0):
    n_tokens, width = x.shape[-2:]
    angle = torch.arange(n_tokens)[:, None] * base ** (-torch.arange(0, width, 2) / width)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)


class Net(nn.Module):
    """One attention layer whose every part can be exchanged by a subclass."""

    def __init__(self, *, n_heads=H, tied=True, bias=True):
        super().__init__()
        self.n_heads = n_heads
        self.embedding = nn.Embedding(V, D)
        self.norm = nn.LayerNorm(D)
        self.query, self.key, self.value, self.out = (nn.Linear(D, D, bias) for _ in range(4))
        self.head = nn.Linear(D, V, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def split(self, x):
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def place(self, x):
        return x

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def mix(self, x):
        x = self.norm(x)
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        y = self.attend(self.place(q), self.place(k), v)
        return self.out(y.transpose(1, 2).flatten(2))

    def join(self, x, y):
        return x + y

    def forward(self, ids):
        x = self.embedding(ids)
        return self.head(self.join(x, self.mix(x)))


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def plain():
    """The fingerprint of Net()."""
    return fingerprint(Net())


def same(*models):
    return len({fingerprint(model) for model in models}) == 1


class TestWhatDoesNotMatter:
    def test_the_seed(self):
        torch.manual_seed(1)
        first = Net()
        torch.manual_seed(2)
        assert same(first, Net())

    def test_names_and_the_order_of_registration_and_of_commuting_operations(self, plain):
        class Other(nn.Module):
            def __init__(self):
                super().__init__()
                self.o, self.v, self.q, self.k = (nn.Linear(D, D) for _ in range(4))
                self.scale = nn.Parameter(torch.ones(D))
                self.table = nn.Parameter(torch.randn(V, D))
                self.shift = nn.Parameter(torch.zeros(D))

            def forward(self, tokens):
                x = F.embedding(tokens, self.table)
                n = F.layer_norm(x, (D,), self.scale, self.shift)
                shape = (*tokens.shape, H, D // H)
                v = self.v(n).reshape(shape).permute(0, 2, 1, 3)
                k = self.k(n).reshape(shape).permute(0, 2, 1, 3)
                q = self.q(n).reshape(shape).permute(0, 2, 1, 3)
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                y = self.o(y.permute(0, 2, 1, 3).reshape(*tokens.shape, D))
                return (y + x) @ self.table.t()

        assert fingerprint(Other()) == plain

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x.view(x.shape).clone().contiguous(),
            lambda x: x.expand(-1, -1, -1, -1).repeat(1, 1, 1, 1),
            lambda x: x.repeat_interleave(1, dim=1),
            lambda x: x[:, :, None].expand(-1, -1, 1, -1, -1).reshape(x.shape),
            lambda x: torch.stack(list(x.unbind(2)), dim=2),
            lambda x: torch.cat(x.split(5, dim=2), dim=2),
            lambda x: x.transpose(1, 2).contiguous().transpose(1, 2).to(x.dtype),
            lambda x: F.pad(x, (0, 0, 3, 0))[:, :, 3:],
            lambda x: x.flip(2).flip(2).roll(1, 0).roll(-1, 0),
            lambda x: x.index_select(2, torch.arange(x.shape[2])),
            lambda x: x[:, :, torch.arange(x.shape[2])],
            lambda x: F.dropout(x, 0.0),
            lambda x: torch.zeros_like(x).copy_(x),
        ],
    )
    def test_moving_numbers_to_where_they_were(self, plain, change):
        class Moved(Net):
            def place(self, x):
                return change(x)

        assert fingerprint(Moved()) == plain

    def test_whether_a_result_is_written_in_place_step_by_step_or_returned(self, plain):
        class InPlace(Net):
            def join(self, x, y):
                return y.clone().add_(x)

        class StepByStep(Net):
            def join(self, x, y):
                result, total = torch.empty_like(x), x + y
                for t in range(x.shape[1]):
                    result[:, t] = total[:, t]
                return result

        class IntoMemory(Net):
            def join(self, x, y):
                return torch.add(x, y, out=torch.empty_like(x))

        class IntoGrowingMemory(Net):
            def join(self, x, y):
                return torch.add(x, y, out=torch.empty(0))

        assert {
            fingerprint(m) for m in (InPlace(), StepByStep(), IntoMemory(), IntoGrowingMemory())
        } == {plain}

    def test_the_form_that_a_linear_map_takes_inside_torch(self, plain):
        class Strided(Net):
            def mix(self, x):
                # linear() of a tensor that is not contiguous is mm + add, else it is addmm.
                return super().mix(x.transpose(0, 1).contiguous().transpose(0, 1))

        assert fingerprint(Strided()) == plain

    def test_whether_a_value_is_a_buffer_or_a_literal_and_what_it_is_called(self):
        class Buffer(Net):
            def __init__(self, name, values):
                super().__init__()
                self.name = name
                self.register_buffer(name, torch.tensor(values))

            def join(self, x, y):
                return x + y * getattr(self, self.name)[:2].sum() + getattr(self, self.name)[2]

        class Literal(Net):
            def join(self, x, y):
                values = torch.tensor([0.5, 0.25, 0.1])
                return x + y * values[:2].sum() + values[2]

        assert same(Buffer("a", [0.5, 0.25, 0.1]), Buffer("b", [0.5, 0.25, 0.1]), Literal())
        assert not same(Literal(), Buffer("a", [0.5, 0.25, 0.2]))

    def test_parts_that_the_output_does_not_depend_on(self, plain):
        class Idle(Net):
            def __init__(self):
                super().__init__()
                self.idle = nn.Linear(D, D)

            def mix(self, x):
                self.idle(x)
                return super().mix(x)

        assert fingerprint(Idle()) == plain

    def test_an_autograd_function_is_what_it_computes(self, plain):
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                return x + y

        class Custom(Net):
            def join(self, x, y):
                return Double.apply(x, y)

        assert fingerprint(Custom()) == plain

    def test_the_process_and_the_vocabulary_if_it_is_given(self):
        code = (
            "import torch; from torch import nn; from arcfusion.core.identity import fingerprint;"
            f"print(fingerprint(nn.Sequential(nn.Embedding({V}, {D}), nn.Linear({D}, {V}))))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        model = nn.Sequential(nn.Embedding(V, D), nn.Linear(D, V))
        assert done.stdout.strip() == fingerprint(model) == fingerprint(model, V)
        assert len(fingerprint(model)) == 18


class TestWhatMatters:
    @pytest.mark.parametrize(
        ("name", "replacement"),
        [
            ("attend", lambda _self, q, k, v: F.scaled_dot_product_attention(q, k, v)),
            ("place", lambda _self, x: rotate(x)),
            ("place", lambda _self, x: x.flip(1).flip(2).flip(1)),
            ("place", lambda _self, x: x.index_select(2, torch.arange(x.shape[2]) // 2)),
            ("join", lambda _self, _x, y: y),
            ("join", lambda _self, x, y: x - y),
            ("join", lambda _self, x, y: x + F.silu(y)),
            ("join", lambda _self, x, y: x + y.roll(1, 1)),
            ("join", lambda _self, x, y: x + y.to(torch.bfloat16)),
        ],
    )
    def test_one_changed_computation(self, plain, name, replacement):
        assert fingerprint(type("Changed", (Net,), {name: replacement})()) != plain

    def test_the_constant_of_a_rotation(self):
        def rotated(base):
            return type("Rotated", (Net,), {"place": lambda _self, x: rotate(x, base)})()

        assert not same(rotated(100.0), rotated(200.0))

    def test_heads_biases_and_a_tied_head(self, plain):
        models = [Net(n_heads=4), Net(bias=False), Net(tied=False)]
        assert len({plain, *(fingerprint(model) for model in models)}) == 4

    def test_the_value_at_which_a_gate_starts_but_not_a_random_one(self):
        class Gated(Net):
            def __init__(self, gate):
                super().__init__()
                self.gate = nn.Parameter(gate)

            def join(self, x, y):
                return x + self.gate * y

        gates = [torch.tensor(0.3), torch.tensor(0.0), torch.zeros(D), torch.full((D,), 0.3)]
        assert len({fingerprint(Gated(gate)) for gate in gates}) == 4
        assert same(Gated(torch.randn(D)), Gated(torch.randn(D)))
        assert same(Gated(torch.randn(())), Gated(torch.randn(())))

    def test_which_layers_share_a_weight(self):
        def stack(*places):
            layers = [nn.Linear(D, D, bias=False) for _ in range(3)]
            chosen = []
            for place in places:
                chosen += [layers[place], nn.Tanh()]
            return nn.Sequential(nn.Embedding(V, D), *chosen, nn.Linear(D, V))

        models = [stack(0, 1, 0), stack(0, 0, 1), stack(0, 1, 1), stack(0, 1, 2), stack(0, 0, 0)]
        assert len({fingerprint(model) for model in models}) == 5
        assert same(stack(0, 1, 0), stack(2, 0, 2))

    def test_whether_a_parameter_is_trained(self, plain):
        frozen = Net()
        frozen.query.weight.requires_grad_(requires_grad=False)
        assert fingerprint(frozen) != plain

    def test_what_only_training_does(self, plain):
        def dropping(p):
            return nn.Sequential(nn.Embedding(V, D), nn.Dropout(p), nn.Linear(D, V))

        class Leak(Net):
            def join(self, x, y):
                return x + y + x.roll(-1, 1) if self.training else x + y

        assert len({fingerprint(dropping(p)) for p in (0.0, 0.1, 0.2)}) == 3
        assert fingerprint(Leak()) != plain

    def test_a_window_that_twelve_tokens_do_not_fill(self):
        def windowed(window):
            def place(_self, x):
                return torch.cat([part.cumsum(2) for part in x.split(window, 2)], 2)

            return type("Windowed", (Net,), {"place": place})()

        assert not same(windowed(32), windowed(64))

    def test_a_deterministic_initial_pattern(self):
        def decaying(rates):
            model = nn.Sequential(nn.Embedding(V, D), nn.Linear(D, V))
            model[1].weight = nn.Parameter(rates.repeat(V, 1))
            return model

        assert not same(
            decaying(torch.arange(1.0, D + 1)), decaying(torch.arange(1.0, D + 1).log())
        )
