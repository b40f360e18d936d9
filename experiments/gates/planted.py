"""Known-bad models that each gate must catch: the proof that a gate can fail.

`PLANTED` holds leaks for the causality gate, `DEFECTIVE` one model for each other gate, and
`build_sound` the same skeleton without a defect. Nothing here is ever offered as a component.

B batch, T time, D model.

Source: the leaks are those of public systems: a dropped causal mask reported as "139x better"
(bryceroche/arcfusion), a convolution padded on both sides, statistics over time.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

N_LAYERS = 2


class SoundMixer(nn.Module):
    """Causal softmax attention with one head; the planted mixers change one thing in it."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.scale = d_model**-0.5

    def scores(self, x_BTD: Tensor) -> Tensor:
        """Return scaled products [B, T, T]."""
        scores_BTT: Tensor = self.query(x_BTD) @ self.key(x_BTD).transpose(1, 2) * self.scale
        return scores_BTT

    def attend(self, x_BTD: Tensor, mask_TT: Tensor) -> Tensor:
        """Return attention to the places that the mask allows."""
        scores_BTT = self.scores(x_BTD).masked_fill(~mask_TT, float("-inf"))
        mixed: Tensor = scores_BTT.softmax(-1) @ self.value(x_BTD)
        return mixed

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Attend to this place and all before it."""
        return self.attend(x_BTD, causal_mask(x_BTD))


def causal_mask(x_BTD: Tensor) -> Tensor:
    """Return [T, T], true where row t may look at column s <= t."""
    length = x_BTD.shape[1]
    return torch.ones(length, length, dtype=torch.bool, device=x_BTD.device).tril()


class MaskFlipped(SoundMixer):
    """Looks at this place and all after it."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102 - the class says it
        return self.attend(x_BTD, causal_mask(x_BTD).T)


class MaskAfterSoftmax(SoundMixer):
    """Masks the weights, so that the denominator has seen the future."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        weights_BTT = self.scores(x_BTD).softmax(-1) * causal_mask(x_BTD)
        mixed: Tensor = weights_BTT @ self.value(x_BTD)
        return mixed


class SymmetricConvolution(SoundMixer):
    """A depthwise convolution before attention, padded on both sides."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.conv = nn.Conv1d(d_model, d_model, 3, padding=1, groups=d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        return super().forward(self.conv(x_BTD.transpose(1, 2)).transpose(1, 2))


class BidirectionalScan(SoundMixer):
    """A decaying sum that runs in both directions."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        v_BTD = self.value(x_BTD)
        backwards_BTD = decaying_sum(v_BTD.flip(1)).flip(1)
        return super().forward(x_BTD) + decaying_sum(v_BTD) + backwards_BTD


def decaying_sum(x_BTD: Tensor) -> Tensor:
    """Return h_t = 0.5 h_{t-1} + x_t."""
    h_BD = torch.zeros_like(x_BTD[:, 0])
    rows = []
    for x_BD in x_BTD.unbind(1):
        h_BD = 0.5 * h_BD + x_BD
        rows.append(h_BD)
    return torch.stack(rows, dim=1)


class MeanOverTime(SoundMixer):
    """Takes the mean of the whole sequence off."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x_BTD - x_BTD.mean(1, keepdim=True))


class TrainOnly(SoundMixer):
    """Causal when judged, not while it trains."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        mask_TT = causal_mask(x_BTD)
        return self.attend(x_BTD, mask_TT | self.training)


class TrainOnlySometimes(SoundMixer):
    """Not causal in half of the training forwards, with dropout beside it."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        leaks = self.training and bool(torch.rand(()) < 0.5)
        x_BTD = functional.dropout(x_BTD, 0.1, self.training)
        return self.attend(x_BTD, causal_mask(x_BTD) | leaks)


class Roll(SoundMixer):
    """Shifts by one the wrong way; the last place sees the first, the others see the next."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        return super().forward(torch.roll(x_BTD, -1, dims=1))


class ClosedPeek(SoundMixer):
    """Adds the next place through a gate that starts at zero."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        next_BTD = functional.pad(x_BTD[:, 1:], (0, 0, 0, 1))
        return super().forward(x_BTD) + self.gate * next_BTD


class BatchMean(SoundMixer):
    """Takes the mean over the rows of the batch off."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x_BTD - x_BTD.mean(0, keepdim=True))


class BatchNormOverTime(SoundMixer):
    """Normalises by statistics over batch and time while it trains."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        # One value has no variance; a model that leaks has to run at T = 1 to get that far.
        if x_BTD.shape[0] * x_BTD.shape[1] > 1:
            x_BTD = self.norm(x_BTD.transpose(1, 2)).transpose(1, 2)
        return super().forward(x_BTD)


class LayerNormOverTime(SoundMixer):
    """Normalises each channel by its mean and spread over the sequence."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        spread_B1D = x_BTD.var(1, keepdim=True, correction=0).add(1e-5).sqrt()
        return super().forward((x_BTD - x_BTD.mean(1, keepdim=True)) / spread_B1D)


class ChunkEdge(SoundMixer):
    """The last place of a chunk of 64 sees the first of the next; nothing leaks up to T = 64."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        mask_TT = causal_mask(x_BTD)
        for edge in range(64, x_BTD.shape[1], 64):
            mask_TT[edge - 1, edge] = True
        return self.attend(x_BTD, mask_TT)


class CircularConvolution(SoundMixer):
    """A long convolution by FFT without padding: the end wraps into the start."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        length = x_BTD.shape[1]
        decay_T = 0.9 ** torch.arange(length, dtype=x_BTD.dtype, device=x_BTD.device)
        spectrum_FD = torch.fft.rfft(x_BTD, dim=1) * torch.fft.rfft(decay_T)[:, None]
        return super().forward(torch.fft.irfft(spectrum_FD, n=length, dim=1))


class UnmaskedLinearAttention(SoundMixer):
    """Sums keys and values over the whole sequence."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        keys_BTD = functional.elu(self.key(x_BTD)) + 1
        state_BDD = keys_BTD.transpose(1, 2) @ self.value(x_BTD)
        mixed: Tensor = (functional.elu(self.query(x_BTD)) + 1) @ state_BDD / x_BTD.shape[1]
        return mixed


class ExpertChoice(SoundMixer):
    """An expert takes the half of the tokens that it likes best, over all times."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.router = nn.Linear(d_model, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        liking_BT1 = self.router(x_BTD)
        bar_B11 = liking_BT1.median(1, keepdim=True).values
        return super().forward(x_BTD * (liking_BT1 >= bar_B11) * liking_BT1.sigmoid())


class RelativeToLength(SoundMixer):
    """Knows how long the sequence will be: position divided by length."""

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        length = x_BTD.shape[1]
        place_T = torch.arange(length, dtype=x_BTD.dtype, device=x_BTD.device) / length
        return super().forward(x_BTD * (1 + place_T[:, None]))


class CallMemory(SoundMixer):
    """Remembers the last call, and mixes it into the next one."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.last: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:  # noqa: D102
        mixed_BTD = super().forward(x_BTD)
        if self.last is not None:
            mixed_BTD = mixed_BTD + self.last.to(mixed_BTD)
        self.last = x_BTD[0, -1].detach()
        return mixed_BTD


class SoundModel(nn.Module):
    """Embedding, pre-norm residual layers of a mixer and an MLP, norm, tied head."""

    def __init__(self, vocab_size: int, d_model: int, mixer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2 * N_LAYERS + 1))
        self.mixers = nn.ModuleList(mixer(d_model) for _ in range(N_LAYERS))
        self.channels = nn.ModuleList(
            nn.Sequential(
                nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model)
            )
            for _ in range(N_LAYERS)
        )

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """Return the normed residual stream [B, T, D]."""
        x_BTD = self.embed(ids_BT)
        for i, (mixer, channel) in enumerate(zip(self.mixers, self.channels, strict=True)):
            x_BTD = x_BTD + mixer(self.norms[2 * i](x_BTD))
            x_BTD = x_BTD + channel(self.norms[2 * i + 1](x_BTD))
        return self.norms[-1](x_BTD)  # type: ignore[no-any-return]  # ModuleList is untyped

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return logits [B, T, V]."""
        return functional.linear(self.hidden(ids_BT), self.embed.weight)


class TargetPeek(SoundModel):
    """Adds a little of the next token's own logit: a loss below chance at once."""

    def forward(self, ids_BT: Tensor) -> Tensor:  # noqa: D102
        next_BT = functional.pad(ids_BT[:, 1:], (0, 1))
        answer_BTV = functional.one_hot(next_BT, self.embed.num_embeddings)
        return super().forward(ids_BT) + 1e-3 * answer_BTV


class ShiftedShape(SoundModel):
    """Forward defect: one position short."""

    def forward(self, ids_BT: Tensor) -> Tensor:  # noqa: D102
        return super().forward(ids_BT)[:, 1:]


class SaturatedHead(SoundModel):
    """Entropy defect: tied embeddings from N(0, 1)."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model, SoundMixer)
        nn.init.normal_(self.embed.weight, std=1.0)


class ForgetfulStep(SoundModel):
    """Step defect: decodes every token as if it were the first."""

    def initial_state(self, batch_size: int) -> Tensor:
        """Return a state that nobody reads."""
        return torch.zeros(batch_size)

    def step(self, ids_B: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, V] of this token alone."""
        return self.forward(ids_B[:, None])[:, 0], state


class DetachedBranch(SoundModel):
    """Gradient defect: the mixers take part in the forward but get no gradient."""

    def hidden(self, ids_BT: Tensor) -> Tensor:  # noqa: D102
        x_BTD = self.embed(ids_BT)
        for mixer, channel in zip(self.mixers, self.channels, strict=True):
            x_BTD = x_BTD + mixer(x_BTD).detach()
            x_BTD = x_BTD + channel(x_BTD)
        return self.norms[-1](x_BTD)  # type: ignore[no-any-return]  # ModuleList is untyped


Builder = Callable[[int, int], nn.Module]


def build_sound(vocab_size: int, d_model: int) -> nn.Module:
    """Return the skeleton without a defect: every gate passes it."""
    return SoundModel(vocab_size, d_model, SoundMixer)


def _with(mixer: Callable[[int], nn.Module]) -> Builder:
    return lambda vocab_size, d_model: SoundModel(vocab_size, d_model, mixer)


# The first six are the ones that the acceptance table names.
PLANTED: dict[str, Builder] = {
    "mask_flipped": _with(MaskFlipped),
    "mask_after_softmax": _with(MaskAfterSoftmax),
    "symmetric_convolution": _with(SymmetricConvolution),
    "bidirectional_scan": _with(BidirectionalScan),
    "mean_over_time": _with(MeanOverTime),
    "train_only_leak": _with(TrainOnly),
    "train_only_sometimes": _with(TrainOnlySometimes),
    "roll": _with(Roll),
    "peek_behind_closed_gate": _with(ClosedPeek),
    "batch_mean": _with(BatchMean),
    "batch_norm_over_time": _with(BatchNormOverTime),
    "layer_norm_over_time": _with(LayerNormOverTime),
    "chunk_edge_beyond_64": _with(ChunkEdge),
    "circular_convolution": _with(CircularConvolution),
    "unmasked_linear_attention": _with(UnmaskedLinearAttention),
    "expert_choice": _with(ExpertChoice),
    "position_relative_to_length": _with(RelativeToLength),
    "memory_between_calls": _with(CallMemory),
    "target_peek": lambda vocab_size, d_model: TargetPeek(vocab_size, d_model, SoundMixer),
}
DEFECTIVE: dict[str, Builder] = {
    "forward": lambda vocab_size, d_model: ShiftedShape(vocab_size, d_model, SoundMixer),
    "entropy": SaturatedHead,
    "step_parity": lambda vocab_size, d_model: ForgetfulStep(vocab_size, d_model, SoundMixer),
    "gradient_flow": lambda vocab_size, d_model: DetachedBranch(vocab_size, d_model, SoundMixer),
}
