"""The record that the softmax attentions share: they differ in how many key/value heads there are.

D model width, H query heads, G key/value heads, K = D / H, T context.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class Formulas(Generic[OptionsT]):
    """What a softmax attention costs, given how many key/value heads its options ask for."""

    n_kv_heads: Callable[[OptionsT], int]

    def arguments(
        self, options: OptionsT, d_model: int, surroundings: Surroundings
    ) -> dict[str, Argument]:
        """Return the constructor's arguments."""
        return {
            "d_model": d_model,
            "n_heads": options.n_heads,
            "n_kv_heads": self.n_kv_heads(options),
            "rope": surroundings.position == "rope",
        }

    def count_parameters(self, options: OptionsT, d_model: int) -> int:
        """Return the weights of the four projections."""
        return heads.count_attention_parameters(d_model, options.n_heads, self.n_kv_heads(options))

    def flops_per_token(self, options: OptionsT, d_model: int, context: int) -> float:
        """Return the forward FLOPs of one token."""
        return heads.attention_flops_per_token(
            d_model, options.n_heads, self.n_kv_heads(options), context
        )

    def state_bytes(
        self, options: OptionsT, d_model: int, context: int, bytes_per_value: int
    ) -> StateBytes:
        """Return the key/value cache."""
        return heads.attention_state_bytes(
            d_model, options.n_heads, self.n_kv_heads(options), context, bytes_per_value
        )

    def activation_values(self, options: OptionsT, d_model: int) -> int:
        """Return what is kept for the backward pass, per token."""
        return heads.attention_activation_values(d_model, options.n_heads, self.n_kv_heads(options))


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
    formulas = Formulas(n_kv_heads)
    return Component(
        name=name,
        category="mixer",
        description=description,
        input_port=Port("B T D"),
        output_port=Port("B T D"),
        options=options,
        factory="arcfusion.core.blocks.attention:Attention",
        arguments=formulas.arguments,
        count_parameters=formulas.count_parameters,
        flops_per_token=formulas.flops_per_token,
        state_bytes=formulas.state_bytes,
        activation_values=formulas.activation_values,
        source=source,
        year=year,
        time_complexity="O(T^2 D + T D^2)",
        space_complexity=space_complexity,
        causal=True,
        stateful=True,
    )
