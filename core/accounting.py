"""What an architecture costs, from the components' formulas alone: nothing is built.

Parameters are exact. FLOPs count a multiply-add as two, and element-wise work inside recurrences
only. Memory is an estimate of what a training step holds at its peak; allocator overhead and
temporary buffers of single operations are not in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from arcfusion.core.blocks import load_component
from arcfusion.core.blocks.component import BlockOptions, Component
from arcfusion.core.spec import ArchSpec, Choice

# fp32 weight and gradient, and the two moments of AdamW.
TRAINING_BYTES_PER_PARAMETER = 16
# The backward pass computes a gradient for the input and one for the weight of each product.
TRAINING_TO_FORWARD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """The costs of an architecture.

    Args:
        parameters: number of weights; a tied head counts once.
        forward_flops_per_token: averaged over the positions of one context.
        training_flops_per_token: forward and backward, three times the forward pass.
        state_bytes: of one sequence while stepping, whatever its length.
        kv_bytes: of one sequence's key/value caches at the full context.
        training_memory_bytes: weights, gradients, AdamW's moments, activations (estimate).
        context: tokens of a sequence that the figures are for.
        batch_size: sequences of a training step.
    """

    parameters: int
    forward_flops_per_token: float
    training_flops_per_token: float
    state_bytes: int
    kv_bytes: int
    training_memory_bytes: int
    context: int
    batch_size: int


def account(
    spec: ArchSpec, *, context: int | None = None, batch_size: int = 1, bytes_per_value: int = 4
) -> Accounting:
    """Return what the architecture costs.

    Args:
        spec: the architecture.
        context: tokens of a sequence; the spec's `max_seq_len` when None.
        batch_size: sequences of a training step.
        bytes_per_value: of activations and states: 4 for fp32, 2 for bf16.
    """
    length = spec.max_seq_len if context is None else context
    width, vocab_size = spec.d_model, spec.vocab_size
    parts = list(_parts(spec))
    heads = 1 if spec.tied_head else 2
    parameters = vocab_size * width * heads + sum(
        component.count_parameters(options, width) for component, options in parts
    )
    forward = 2.0 * vocab_size * width + sum(
        component.flops_per_token(options, width, length) for component, options in parts
    )
    states = [
        component.state_bytes(options, width, length, bytes_per_value)
        for component, options in parts
    ]
    # The logits, and their log-softmax for the backward pass, are fp32 whatever the rest is.
    activation_bytes = 2 * 4 * vocab_size + bytes_per_value * sum(
        component.activation_values(options, width) for component, options in parts
    )
    return Accounting(
        parameters=parameters,
        forward_flops_per_token=forward,
        training_flops_per_token=TRAINING_TO_FORWARD * forward,
        state_bytes=sum(state.recurrent for state in states),
        kv_bytes=sum(state.kv for state in states),
        training_memory_bytes=TRAINING_BYTES_PER_PARAMETER * parameters
        + batch_size * length * activation_bytes,
        context=length,
        batch_size=batch_size,
    )


def _parts(spec: ArchSpec) -> Iterator[tuple[Component[BlockOptions], BlockOptions]]:
    """Yield every block of the architecture: two norms a layer, one at the end, positions."""
    norm = Choice(kind=spec.norm)
    for layer in spec.layers:
        for choice in (norm, layer.mixer, norm, layer.channel):
            yield load_component(choice.kind), choice.parsed()
    yield load_component(spec.norm), norm.parsed()
    if spec.position == "learned":
        learned = Choice(kind="learned", options={"max_seq_len": spec.max_seq_len})
        yield load_component("learned"), learned.parsed()
