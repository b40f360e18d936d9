"""The record that the softmax attentions share: they differ in how many key/value heads there are.

D model width, H query heads, G key/value heads, K = D / H, T context.
"""

from collections.abc import Callable
from typing import TypeVar

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


class HeadOptions(BlockOptions):
    """The number of query heads H; divides the model width."""

    n_heads: int = Field(4, ge=1, le=256)

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Heads must split the width; rotary positions need heads of even width."""
        return [
            *heads.head_problems(self.n_heads, d_model),
            *heads.rope_problems(self.n_heads, d_model, surroundings),
        ]


OptionsT = TypeVar("OptionsT", bound=HeadOptions)


def attention_component(
    *,
    name: str,
    description: str,
    options: type[OptionsT],
    n_kv_heads: Callable[[OptionsT], int],
    source: str,
    year: int,
    space_complexity: str,
) -> Component[OptionsT]:
    """Return the record of a softmax attention.

    Args:
        name: of the component.
        description: one line.
        options: its options.
        n_kv_heads: G, from the options.
        source: the paper.
        year: of the paper.
        space_complexity: of the key/value cache.
    """

    def arguments(chosen: OptionsT, d_model: int, around: Surroundings) -> dict[str, Argument]:
        return {
            "d_model": d_model,
            "n_heads": chosen.n_heads,
            "n_kv_heads": n_kv_heads(chosen),
            "rope": around.position == "rope",
        }

    def count_parameters(chosen: OptionsT, d_model: int) -> int:
        return heads.count_attention_parameters(d_model, chosen.n_heads, n_kv_heads(chosen))

    def flops_per_token(chosen: OptionsT, d_model: int, context: int) -> float:
        return heads.attention_flops_per_token(d_model, chosen.n_heads, n_kv_heads(chosen), context)

    def state_bytes(
        chosen: OptionsT, d_model: int, context: int, bytes_per_value: int
    ) -> StateBytes:
        return heads.attention_state_bytes(
            d_model, chosen.n_heads, n_kv_heads(chosen), context, bytes_per_value
        )

    def activation_values(chosen: OptionsT, d_model: int) -> int:
        return heads.attention_activation_values(d_model, chosen.n_heads, n_kv_heads(chosen))

    return Component(
        name=name,
        category="mixer",
        description=description,
        input_port=Port("B T D"),
        output_port=Port("B T D"),
        options=options,
        factory="arcfusion.core.blocks.attention:Attention",
        arguments=arguments,
        count_parameters=count_parameters,
        flops_per_token=flops_per_token,
        state_bytes=state_bytes,
        activation_values=activation_values,
        source=source,
        year=year,
        time_complexity="O(T^2 D + T D^2)",
        space_complexity=space_complexity,
        causal=True,
        stateful=True,
    )
