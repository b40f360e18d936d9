"""Grouped-query attention: groups of query heads share a key/value head."""

from pydantic import Field

from arcfusion.core.blocks import heads
from arcfusion.core.blocks.component import (
    Argument,
    BlockOptions,
    Component,
    Port,
    StateBytes,
    Surroundings,
)


class GQAOptions(BlockOptions):
    """Query heads H, a divisor of the width; key/value heads G, a divisor of H."""

    n_heads: int = Field(4, ge=1, le=256)
    n_kv_heads: int = Field(2, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Heads must split the width; rotary positions need heads of even width."""
        return [
            *heads.head_problems(self.n_heads, d_model),
            *heads.kv_head_problems(self.n_heads, self.n_kv_heads),
            *heads.rope_problems(self.n_heads, d_model, surroundings),
        ]


def _arguments(
    options: GQAOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    return {
        "d_model": d_model,
        "n_heads": options.n_heads,
        "n_kv_heads": options.n_kv_heads,
        "rope": surroundings.position == "rope",
    }


def _count_parameters(options: GQAOptions, d_model: int) -> int:
    return heads.count_attention_parameters(d_model, options.n_heads, options.n_kv_heads)


def _flops_per_token(options: GQAOptions, d_model: int, context: int) -> float:
    return heads.attention_flops_per_token(d_model, options.n_heads, options.n_kv_heads, context)


def _state_bytes(
    options: GQAOptions, d_model: int, context: int, bytes_per_value: int
) -> StateBytes:
    return heads.attention_state_bytes(
        d_model, options.n_heads, options.n_kv_heads, context, bytes_per_value
    )


COMPONENT = Component(
    name="gqa",
    category="mixer",
    description="grouped-query softmax attention: groups of query heads share keys and values",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=GQAOptions,
    factory="arcfusion.core.blocks.attention:Attention",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=_flops_per_token,
    state_bytes=_state_bytes,
    activation_values=lambda options, d_model: heads.attention_activation_values(
        d_model, options.n_heads, options.n_kv_heads
    ),
    source="Ainslie et al. 2023, arXiv:2305.13245",
    year=2023,
    time_complexity="O(T^2 D + T D^2)",
    space_complexity="O(T D G / H)",
    causal=True,
    stateful=True,
)
