"""The fingerprint of models that are hard to trace, and of those that have none."""

import ctypes

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from arcfusion.core.identity import fingerprint
from arcfusion.core.identity.api import ForwardFailedError
from arcfusion.core.identity.trace import RandomForwardError, UntracedMemoryError

V, D, H = 40, 16, 2


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


def test_the_model_its_mode_and_the_random_state_stay_as_they_were():
    class Counting(Net):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)
            self.register_buffer("calls", torch.zeros(()))

        def join(self, x, y):
            self.calls += 1
            return x + self.dropout(y)

    model = Counting().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    assert fingerprint(model) == fingerprint(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_model_that_takes_twelve_tokens_at_most_or_one_precision_only(plain):
    class Short(Net):
        def join(self, x, y):
            assert x.shape[1] <= 12
            return x + y

    class Single(Net):
        def join(self, x, y):
            assert x.dtype == torch.float32
            return x + y

    assert len({plain, fingerprint(Short()), fingerprint(Single())}) == 3
    assert same(Short(), Short())
    assert same(Single(), Single())


def test_complex_rotations_and_fp32_islands():
    def turn(x, factor):
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        angle = torch.arange(x.shape[2], dtype=torch.float32)[:, None] * factor
        turned = pairs * torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(turned.conj().resolve_conj()).flatten(3).type_as(x)

    def turning(factor):
        return type("Turning", (Net,), {"place": lambda _self, x: turn(x, factor)})()

    assert same(turning(0.5), turning(0.5))
    assert not same(turning(0.5), turning(0.25))
    assert not same(turning(0.0), Net())


def test_two_slices_of_one_memory_that_torch_did_not_see_being_made():
    class Sliced(Net):
        def __init__(self, scale):
            super().__init__()
            table = torch.arange(2.0 * D) * scale
            self.register_buffer("first", table[:D])
            self.register_buffer("second", table[D:])

        def join(self, x, y):
            return x * self.first + y * self.second

    assert same(Sliced(0.5), Sliced(0.5))
    assert not same(Sliced(0.5), Sliced(0.25))


def test_a_large_weight_is_named_by_its_strides():
    def wide(transposed):
        model = nn.Sequential(nn.Embedding(V, 520), nn.Linear(520, 520), nn.Linear(520, V))
        if transposed:
            weight = nn.Parameter(torch.randn(520, 520))
            model[1] = type("T", (nn.Module,), {"forward": lambda _self, x: x @ weight})()
            model[1].weight, model[1].bias = weight, nn.Parameter(torch.zeros(520))
        return model

    assert same(wide(transposed=False), wide(transposed=False))
    assert not same(wide(transposed=False), wide(transposed=True))


def test_a_random_answer_in_eval_mode_is_an_error():
    class Noisy(Net):
        def join(self, x, y):
            return x + F.dropout(y, 0.1, training=True)

    with pytest.raises(RandomForwardError, match="draws random numbers in eval mode"):
        fingerprint(Noisy())


def test_a_kernel_behind_a_pointer_is_an_error():
    class Native(Net):
        def join(self, x, y):
            result, total = torch.empty_like(x), (x + y).contiguous()
            ctypes.memmove(result.data_ptr(), total.data_ptr(), total.nbytes)
            return result

    with pytest.raises(UntracedMemoryError, match="no operation of torch wrote"):
        fingerprint(Native())


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda _self, _ids: 1 / 0, "ZeroDivisionError"),
        (lambda _self, ids: (ids, ids), "forward returned tuple"),
        (lambda _self, ids: ids.float(), r"forward returned \[2, 12\]"),
    ],
)
def test_a_forward_that_is_not_one_says_what_it_did(forward, message):
    with pytest.raises(ForwardFailedError, match=message):
        fingerprint(type("Broken", (Net,), {"forward": forward})())


def test_a_model_that_can_not_be_copied_says_so():
    model = Net()
    model.lock = (line for line in "ab")
    with pytest.raises(ForwardFailedError, match="can not be copied"):
        fingerprint(model)


def test_a_graph_of_experts_with_routes_that_depend_on_the_input():
    class Experts(Net):
        def __init__(self, n_experts, k):
            super().__init__()
            self.k = k
            self.router = nn.Linear(D, n_experts, bias=False)
            self.experts = nn.ModuleList(nn.Linear(D, D) for _ in range(n_experts))

        def join(self, x, y):
            weights, chosen = self.router(y).softmax(-1).topk(self.k, -1)
            result = torch.zeros_like(x)
            for index, expert in enumerate(self.experts):
                hits = chosen == index
                share = (weights * hits).sum(-1, keepdim=True)
                result += share * expert(y)
            return x + result

    torch.manual_seed(0)
    assert same(Experts(3, 1), Experts(3, 1))
    assert not same(Experts(3, 1), Experts(3, 2))
    assert not same(Experts(3, 1), Experts(4, 1))
