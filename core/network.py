"""The language model as a network: embedding, residual layers, head. Knows no ArchSpec.

Shapes: B batch, T time, D model width, V vocabulary, L layers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from arcfusion.core.blocks.learned_position import LearnedPosition
from arcfusion.core.blocks.mixer import Mixer

EMBEDDING_STD = 0.02


class NetworkState(NamedTuple):
    """What stepping carries: how many tokens were seen, and each layer's mixer state."""

    n_tokens: int
    layers: tuple[tuple[Tensor, ...], ...]


def embedding_std(vocab_size: int, d_model: int, *, tied_head: bool) -> float:
    """Return the deviation of embedding (and head) weights: 0.02, or less for a wide model.

    The first loss must be near ln V. A head of deviation s makes logits of variance s^2 D, which
    costs s^2 D / 2 nats; a tied one also makes each token predict itself with a logit of up to
    s D, which costs ln(1 + (e^(s D) - 1) / V). Either cost is held below 1% of ln V.
    """
    budget = 0.01 * math.log(vocab_size)
    std = min(EMBEDDING_STD, math.sqrt(2 * budget / d_model))
    if tied_head:
        std = min(std, math.log1p(budget * vocab_size) / d_model)
    return std


class Layer(nn.Module):
    """Two pre-norm residual branches: x + mixer(norm(x)), then x + channel(norm(x))."""

    def __init__(
        self, mixer_norm: nn.Module, mixer: Mixer, channel_norm: nn.Module, channel: nn.Module
    ) -> None:
        super().__init__()
        self.mixer_norm = mixer_norm
        self.mixer = mixer
        self.channel_norm = channel_norm
        self.channel = channel

    def _mix_channels(self, x: Tensor) -> Tensor:
        branch: Tensor = self.channel(self.channel_norm(x))
        return x + branch

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map a whole sequence."""
        return self._mix_channels(x_BTD + self.mixer(self.mixer_norm(x_BTD)))

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map one token; return its output and the mixer's next state."""
        branch_BD, state = self.mixer.step(self.mixer_norm(x_BD), state)
        return self._mix_channels(x_BD + branch_BD), state


class Network(nn.Module):
    """A causal language model over token ids.

    Args:
        vocab_size: V.
        d_model: D.
        layers: in order; their `out_proj` weights are scaled down by sqrt(2 L), so that the
            variance of the residual stream does not grow with depth.
        norm: the last norm, before the head.
        position: learned positions, added to the embedding; None where there are none.
        tied_head: the head is the embedding's weight; else a matrix of its own. No bias.

    Source: Radford et al. 2019 (GPT-2).
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        layers: Sequence[Layer],
        norm: nn.Module,
        *,
        position: LearnedPosition | None,
        tied_head: bool,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.d_model = d_model
        std = embedding_std(vocab_size, d_model, tied_head=tied_head)
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=std)
        self.position = position
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.head: nn.Linear | None = None
        if not tied_head:
            self.head = nn.Linear(d_model, vocab_size, bias=False)
            nn.init.normal_(self.head.weight, std=std)
        for layer in layers:
            for branch in (layer.mixer, layer.channel):
                self._scale_residual(branch, 2 * len(layers))

    @staticmethod
    def _scale_residual(branch: nn.Module, n_branches: int) -> None:
        weight = branch.get_parameter("out_proj.weight")
        with torch.no_grad():
            weight.mul_(n_branches**-0.5)

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return nn.functional.linear(self.norm(x), weight)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return logits [B, T, V] of the next token at every position of ids [B, T] (int64).

        Raises:
            ValueError: the sequence is longer than the learned positions.
        """
        x_BTD = self.embedding(ids_BT)
        if self.position is not None:
            x_BTD = self.position(x_BTD)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return self._logits(x_BTD)

    def loss(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the mean cross entropy in nats; logits are taken to at least fp32."""
        logits_BTV = self(ids_BT)
        dtype = torch.promote_types(logits_BTV.dtype, torch.float32)
        return nn.functional.cross_entropy(logits_BTV.flatten(0, 1).to(dtype), targets_BT.flatten())

    def initial_state(self, batch_size: int) -> NetworkState:
        """Return the state before the first token, on the device of the weights."""
        weight = self.embedding.weight
        return NetworkState(
            n_tokens=0,
            layers=tuple(
                layer.mixer.initial_state(batch_size, weight.device, weight.dtype)
                for layer in self.layers
                if isinstance(layer, Layer)
            ),
        )

    def step(self, ids_B: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Take one token of each sequence; return logits [B, V] and the next state.

        Raises:
            ValueError: the learned positions end here.
        """
        x_BD = self.embedding(ids_B)
        if self.position is not None:
            x_BD = self.position(x_BD[:, None], state.n_tokens)[:, 0]
        states = []
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            assert isinstance(layer, Layer)
            x_BD, next_state = layer.step(x_BD, layer_state)
            states.append(next_state)
        return self._logits(x_BD), NetworkState(state.n_tokens + 1, tuple(states))

    @torch.no_grad()
    def generate(
        self,
        ids_BT: Tensor,
        n_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Continue the prompts by n_tokens; return prompts and continuation [B, T + n_tokens].

        Args:
            ids_BT: the prompts, at least one token each.
            n_tokens: how many tokens to add.
            temperature: divides the logits; 0 takes the most likely token.
            top_k: draw from the k most likely tokens only.
            seed: of the draw; the global random state is not touched.

        Raises:
            ValueError: an empty prompt, a negative temperature, top_k < 1, or a sequence longer
                than the learned positions.
        """
        if ids_BT.shape[1] == 0:
            raise ValueError("the prompt is empty: give at least one token")
        if temperature < 0 or (top_k is not None and top_k < 1):
            raise ValueError(
                f"temperature {temperature} and top_k {top_k}: allowed are >= 0 and >= 1"
            )
        generator = torch.Generator(device=ids_BT.device).manual_seed(seed)
        state = self.initial_state(ids_BT.shape[0])
        tokens = list(ids_BT.unbind(1))
        for index in range(len(tokens) + n_tokens - 1):
            logits_BV, state = self.step(tokens[index], state)
            if index + 1 == len(tokens):
                tokens.append(draw_token(logits_BV, temperature, top_k, generator))
        return torch.stack(tokens, dim=1)


def draw_token(
    logits_BV: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> Tensor:
    """Draw a token id [B] from logits; temperature 0 takes the most likely one."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    if top_k is not None:
        kth_B1 = logits_BV.topk(min(top_k, logits_BV.shape[-1])).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth_B1, -torch.inf)
    probabilities_BV = torch.softmax(logits_BV.float() / temperature, dim=-1)
    return torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]
