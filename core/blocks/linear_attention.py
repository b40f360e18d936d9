"""Linear attention: softmax is replaced by a positive feature map, so the past is one matrix.

Shapes: B batch, T time, D model width, H heads, K = V = D / H, N chunks, C tokens of a chunk.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from arcfusion.core.blocks import heads
from arcfusion.core.blocks.component import (
    Argument,
    BlockOptions,
    Component,
    Port,
    StateBytes,
    Surroundings,
)
from arcfusion.core.blocks.mixer import Mixer
from arcfusion.core.blocks.projection import projection

CHUNK = 64
DENOMINATOR_EPS = 1e-6


def elu_features(x: Tensor) -> Tensor:
    """Return elu(x) + 1, which is positive, in at least fp32."""
    return nn.functional.elu(x.to(torch.promote_types(x.dtype, torch.float32))) + 1


def split_chunks(x_BHTK: Tensor, chunk: int) -> Tensor:
    """Pad time with zeros to whole chunks; return [B, H, N, C, K]."""
    batch_size, n_heads, n_tokens, head_dim = x_BHTK.shape
    padded = nn.functional.pad(x_BHTK, (0, 0, 0, -n_tokens % chunk))
    return padded.reshape(batch_size, n_heads, -1, chunk, head_dim)


class LinearAttention(Mixer):
    """Causal attention y_t = phi(q_t) S_t / (phi(q_t) z_t) with phi = elu + 1, no bias.

    S_t = sum over s <= t of phi(k_s) v_s^T, z_t = sum of phi(k_s). Sums are kept in at least fp32.
    A whole sequence runs in chunks: inside a chunk as masked scores, between chunks through S.

    Args:
        d_model: width D of the input and the output.
        n_heads: H, divides D.

    Source: Katharopoulos et al. 2020, arXiv:2006.16236; chunked form Hua et al. 2022,
    arXiv:2202.10447.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head_dim = d_model // n_heads
        self.q_proj = projection(d_model, d_model)
        self.k_proj = projection(d_model, d_model)
        self.v_proj = projection(d_model, d_model)
        self.out_proj = projection(d_model, d_model)

    def _features(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch_size, n_tokens, _ = x_BTD.shape
        shape = (batch_size, n_tokens, self.n_heads, self.head_dim)
        q_BHTK = elu_features(self.q_proj(x_BTD)).view(shape).transpose(1, 2)
        k_BHTK = elu_features(self.k_proj(x_BTD)).view(shape).transpose(1, 2)
        v_BHTV = self.v_proj(x_BTD).view(shape).transpose(1, 2).to(q_BHTK.dtype)
        return q_BHTK, k_BHTK, v_BHTV

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix a whole sequence, chunk by chunk."""
        n_tokens = x_BTD.shape[1]
        chunk = min(CHUNK, n_tokens)
        q_BHNCK, k_BHNCK, v_BHNCV = (split_chunks(part, chunk) for part in self._features(x_BTD))
        # What the chunks before this one left behind: sums that exclude the chunk itself.
        s_BHNKV = k_BHNCK.transpose(-1, -2) @ v_BHNCV
        s_BHNKV = s_BHNKV.cumsum(2) - s_BHNKV
        z_BHNK = k_BHNCK.sum(3)
        z_BHNK = z_BHNK.cumsum(2) - z_BHNK
        scores_BHNCC = (q_BHNCK @ k_BHNCK.transpose(-1, -2)).tril()
        numerator = scores_BHNCC @ v_BHNCV + q_BHNCK @ s_BHNKV
        denominator = scores_BHNCC.sum(-1, keepdim=True) + q_BHNCK @ z_BHNK[..., None]
        y_BHTV = (numerator / (denominator + DENOMINATOR_EPS)).flatten(2, 3)[:, :, :n_tokens]
        y_BTD: Tensor = self.out_proj(y_BHTV.transpose(1, 2).flatten(2).to(x_BTD.dtype))
        return y_BTD

    def initial_state(
        self, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Return zero sums: S [B, H, K, V] and z [B, H, K], in at least fp32."""
        dtype = torch.promote_types(dtype, torch.float32)
        shape = (batch_size, self.n_heads, self.head_dim)
        s_BHKV = torch.zeros(*shape, self.head_dim, device=device, dtype=dtype)
        return s_BHKV, torch.zeros(shape, device=device, dtype=dtype)

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Add one token to the sums and read them."""
        s_BHKV, z_BHK = state
        q_BHK, k_BHK, v_BHV = (part[:, :, 0] for part in self._features(x_BD[:, None]))
        s_BHKV = s_BHKV + k_BHK[..., None] * v_BHV[..., None, :]
        z_BHK = z_BHK + k_BHK
        numerator = (q_BHK[..., None] * s_BHKV).sum(-2)
        denominator = (q_BHK * z_BHK).sum(-1, keepdim=True)
        y_BHV = numerator / (denominator + DENOMINATOR_EPS)
        return self.out_proj(y_BHV.flatten(1).to(x_BD.dtype)), (s_BHKV, z_BHK)


class LinearAttentionOptions(BlockOptions):
    """The number of heads H; divides the model width."""

    n_heads: int = Field(4, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Heads must split the width."""
        del surroundings
        return heads.head_problems(self.n_heads, d_model)


def _arguments(
    options: LinearAttentionOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    del surroundings
    return {"d_model": d_model, "n_heads": options.n_heads}


def _flops_per_token(options: LinearAttentionOptions, d_model: int, context: int) -> float:
    # Recurrent form: S and z are updated and read once, 2 + 2 a value of the state.
    del context
    return 8.0 * d_model**2 + 4.0 * d_model * (d_model // options.n_heads + 1)


def _state_bytes(
    options: LinearAttentionOptions, d_model: int, context: int, bytes_per_value: int
) -> StateBytes:
    # The sums are fp32 at least, whatever the dtype of the rest.
    del context
    values = d_model * (d_model // options.n_heads + 1)
    return StateBytes(recurrent=values * max(4, bytes_per_value), kv=0)


COMPONENT = Component(
    name="linear_attention",
    category="mixer",
    description="attention with elu + 1 features instead of softmax; state is one K x V matrix",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=LinearAttentionOptions,
    factory="arcfusion.core.blocks.linear_attention:LinearAttention",
    arguments=_arguments,
    count_parameters=lambda _options, d_model: 4 * d_model**2,
    flops_per_token=_flops_per_token,
    state_bytes=_state_bytes,
    activation_values=lambda options, d_model: 10 * d_model + CHUNK * options.n_heads,
    source="Katharopoulos et al. 2020, arXiv:2006.16236",
    year=2020,
    time_complexity="O(T D^2 / H + T D^2)",
    space_complexity="O(D^2 / H)",
    causal=True,
    stateful=True,
)
