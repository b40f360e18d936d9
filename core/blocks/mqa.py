"""Multi-query attention: one key/value head for all query heads."""

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


class MQAOptions(BlockOptions):
    """The number of heads H; divides the model width."""

    n_heads: int = Field(4, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Heads must split the width; rotary positions need heads of even width."""
        return [
            *heads.head_problems(self.n_heads, d_model),
            *heads.rope_problems(self.n_heads, d_model, surroundings),
        ]


def _arguments(
    options: MQAOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    return {
        "d_model": d_model,
        "n_heads": options.n_heads,
        "n_kv_heads": 1,
        "rope": surroundings.position == "rope",
    }


def _count_parameters(options: MQAOptions, d_model: int) -> int:
    return heads.count_attention_parameters(d_model, options.n_heads, 1)


def _flops_per_token(options: MQAOptions, d_model: int, context: int) -> float:
    return heads.attention_flops_per_token(d_model, options.n_heads, 1, context)


def _state_bytes(
    options: MQAOptions, d_model: int, context: int, bytes_per_value: int
) -> StateBytes:
    return heads.attention_state_bytes(d_model, options.n_heads, 1, context, bytes_per_value)


COMPONENT = Component(
    name="mqa",
    category="mixer",
    description="multi-query softmax attention: one key/value head serves every query head",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=MQAOptions,
    factory="arcfusion.core.blocks.attention:Attention",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=_flops_per_token,
    state_bytes=_state_bytes,
    activation_values=lambda options, d_model: heads.attention_activation_values(
        d_model, options.n_heads, 1
    ),
    source="Shazeer 2019, arXiv:1911.02150",
    year=2019,
    time_complexity="O(T^2 D + T D^2)",
    space_complexity="O(T D / H)",
    causal=True,
    stateful=True,
)
