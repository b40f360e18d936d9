"""Multi-head attention: as many key/value heads as query heads."""

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


class MHAOptions(BlockOptions):
    """The number of heads H; divides the model width."""

    n_heads: int = Field(4, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Heads must split the width; rotary positions need heads of even width."""
        return [
            *heads.head_problems(self.n_heads, d_model),
            *heads.rope_problems(self.n_heads, d_model, surroundings),
        ]


def _arguments(
    options: MHAOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    return {
        "d_model": d_model,
        "n_heads": options.n_heads,
        "n_kv_heads": options.n_heads,
        "rope": surroundings.position == "rope",
    }


def _count_parameters(options: MHAOptions, d_model: int) -> int:
    return heads.count_attention_parameters(d_model, options.n_heads, options.n_heads)


def _flops_per_token(options: MHAOptions, d_model: int, context: int) -> float:
    return heads.attention_flops_per_token(d_model, options.n_heads, options.n_heads, context)


def _state_bytes(
    options: MHAOptions, d_model: int, context: int, bytes_per_value: int
) -> StateBytes:
    return heads.attention_state_bytes(
        d_model, options.n_heads, options.n_heads, context, bytes_per_value
    )


COMPONENT = Component(
    name="mha",
    category="mixer",
    description="multi-head softmax attention: every query head has its own keys and values",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=MHAOptions,
    factory="arcfusion.core.blocks.attention:Attention",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=_flops_per_token,
    state_bytes=_state_bytes,
    activation_values=lambda options, d_model: heads.attention_activation_values(
        d_model, options.n_heads, options.n_heads
    ),
    source="Vaswani et al. 2017, arXiv:1706.03762",
    year=2017,
    time_complexity="O(T^2 D + T D^2)",
    space_complexity="O(T D)",
    causal=True,
    stateful=True,
)
