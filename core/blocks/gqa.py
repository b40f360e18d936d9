"""Grouped-query attention: groups of query heads share a key/value head."""

from pydantic import Field

from arcfusion.core.blocks import heads
from arcfusion.core.blocks.component import Surroundings
from arcfusion.core.blocks.softmax_attention import HeadOptions, attention_component


class GQAOptions(HeadOptions):
    """Query heads H, a divisor of the width; key/value heads G, a divisor of H."""

    n_kv_heads: int = Field(2, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """As for the heads; and each key/value head must serve as many query heads."""
        return [
            *heads.head_problems(self.n_heads, d_model),
            *heads.kv_head_problems(self.n_heads, self.n_kv_heads),
            *heads.rope_problems(self.n_heads, d_model, surroundings),
        ]


COMPONENT = attention_component(
    name="gqa",
    description="grouped-query softmax attention: groups of query heads share keys and values",
    options=GQAOptions,
    n_kv_heads=lambda options: options.n_kv_heads,
    source="Ainslie et al. 2023, arXiv:2305.13245",
    year=2023,
    space_complexity="O(T D G / H)",
)
