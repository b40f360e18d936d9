"""Softmax attention with H query heads over G key/value heads; mha, gqa and mqa differ in G.

Shapes: B batch, T time, S cached time, D model width, H query heads, G key/value heads, K head
width = D / H.
"""

import torch
from torch import Tensor, nn

from arcfusion.core.blocks.mixer import Mixer
from arcfusion.core.blocks.projection import projection
from arcfusion.core.blocks.rope import apply_rope


class Attention(Mixer):
    """Causal scaled dot-product attention, no bias.

    Args:
        d_model: width D of the input and the output.
        n_heads: H, divides D.
        n_kv_heads: G, divides H; query heads h*H/G .. (h+1)*H/G - 1 share key/value head h.
        rope: rotate queries and keys by their position; K must be even.

    Source: Vaswani et al. 2017, arXiv:1706.03762; grouped heads Ainslie et al. 2023,
    arXiv:2305.13245.
    """

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, *, rope: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads
        self.head_dim = d_model // n_heads
        self.rope = rope
        self.q_proj = projection(d_model, d_model)
        self.k_proj = projection(d_model, n_kv_heads * self.head_dim)
        self.v_proj = projection(d_model, n_kv_heads * self.head_dim)
        self.out_proj = projection(d_model, d_model)

    def _split_heads(self, x_BTD: Tensor, n_heads: int) -> Tensor:
        batch_size, n_tokens, _ = x_BTD.shape
        return x_BTD.view(batch_size, n_tokens, n_heads, self.head_dim).transpose(1, 2)

    def _project(self, x_BTD: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        q_BHTK = self._split_heads(self.q_proj(x_BTD), self.n_heads)
        k_BGTK = self._split_heads(self.k_proj(x_BTD), self.n_kv_heads)
        v_BGTK = self._split_heads(self.v_proj(x_BTD), self.n_kv_heads)
        if self.rope:
            q_BHTK, k_BGTK = apply_rope(q_BHTK, offset), apply_rope(k_BGTK, offset)
        return q_BHTK, k_BGTK, v_BGTK

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Attend each token to itself and to what came before it."""
        q_BHTK, k_BGTK, v_BGTK = self._project(x_BTD, 0)
        y_BHTK = nn.functional.scaled_dot_product_attention(
            q_BHTK, k_BGTK, v_BGTK, is_causal=True, enable_gqa=True
        )
        y_BTD: Tensor = self.out_proj(y_BHTK.transpose(1, 2).flatten(2))
        return y_BTD

    def initial_state(
        self, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Return an empty cache: keys and values [B, G, 0, K]."""
        empty = torch.empty(
            batch_size, self.n_kv_heads, 0, self.head_dim, device=device, dtype=dtype
        )
        return empty, empty

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Attend one token to the cache and itself; the cache grows by this token."""
        past_k_BGSK, past_v_BGSK = state
        q_BH1K, k_BG1K, v_BG1K = self._project(x_BD[:, None], past_k_BGSK.shape[2])
        k_BGSK = torch.cat((past_k_BGSK, k_BG1K), dim=2)
        v_BGSK = torch.cat((past_v_BGSK, v_BG1K), dim=2)
        y_BH1K = nn.functional.scaled_dot_product_attention(q_BH1K, k_BGSK, v_BGSK, enable_gqa=True)
        return self.out_proj(y_BH1K.flatten(1)), (k_BGSK, v_BGSK)
