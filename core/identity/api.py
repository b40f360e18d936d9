"""The fingerprint of a built model.

Names can not tell two nets apart: a predecessor trained one net twelve times under twelve names,
because it compared the names of components. A fingerprint is made of what the built model does:

1. the graph of one forward in eval mode and of one in training mode, with each parameter by its
   shape, its dtype, whether it is trained, its values where they were not drawn at random, and
   every use of it (which says what is shared);
2. the logits in float64, rounded, after each parameter was refilled from its colour in the graph.

It does not depend on names, on the order of registration or of independent operations, on the seed,
or on parts that the output does not depend on. It holds for one build of torch: another may take
an operation apart in another way. What a model does differently only beyond 96 tokens does not show
unless an argument of an operation says it.
"""

import copy
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from arcfusion.core.errors import ArcFusionError, BadInputError
from arcfusion.core.identity.content import pattern_name, project, refill
from arcfusion.core.identity.double import DoublePrecision
from arcfusion.core.identity.graph import canonical
from arcfusion.core.identity.trace import describe_parameter, trace_forward

VERSION = "identity 1"
TRACED_SHAPE = (2, 12)
# Longer than the chunks and windows of small models, which a trace of 12 tokens does not reach.
LONG_SHAPE = (2, 96)
N_PROJECTIONS = 8
# Without float64, two orders of the same sum differ in the seventh digit.
DIGITS = {torch.float64: 4, torch.float32: 2}


class ForwardFailedError(BadInputError):
    """The model's forward can not be run on token ids."""


def fingerprint(model: nn.Module, vocab_size: int | None = None) -> str:
    """Return the identity of a model at initialisation: "fp" and 16 hexadecimal digits.

    The model is copied to the CPU; it, its mode and the state of the random generators are left as
    they were.

    Args:
        model: maps token ids [B, T] (int64) to logits [B, T, vocab_size].
        vocab_size: number of token ids; by default the last size of its logits.

    Raises:
        ForwardFailedError: it can not be copied, its forward raises on 12 tokens, or what it
            returns is not such a tensor.
        RandomForwardError: it draws random numbers in eval mode.
        UntracedMemoryError: the output comes from a kernel that torch does not see.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        copied = _copy(model).cpu().eval()
        _refill_random(copied)
        if vocab_size is None:
            zeros_BT = torch.zeros(TRACED_SHAPE, dtype=torch.int64)
            vocab_size = _forward(_copy(copied), zeros_BT).shape[-1]
        ids_BT = make_ids(TRACED_SHAPE, vocab_size)
        structure, colours = _name_structure(_copy(copied), ids_BT, allow_random=False)
        training, _ = _name_structure(_copy(copied).train(), ids_BT, allow_random=True)
        _refill_by_colour(copied, colours)
        output = _name_output(copied, vocab_size)
    text = "\n".join([VERSION, *structure, "training", *training, output])
    return "fp" + hashlib.sha256(text.encode()).hexdigest()[:16]


def make_ids(shape: tuple[int, int], vocab_size: int) -> Tensor:
    """Return fixed token ids that reach over the whole vocabulary."""
    n_ids = shape[0] * shape[1]
    return (torch.arange(n_ids) * 7919 + torch.arange(n_ids) ** 2 * 104729).view(shape) % vocab_size


def _name_structure(
    model: nn.Module, ids_BT: Tensor, *, allow_random: bool
) -> tuple[list[str], dict[int, str]]:
    """Return the graph's names, and the colour of each used parameter by its place in the model."""
    try:
        trace = trace_forward(model, ids_BT, allow_random=allow_random)
    except ArcFusionError:
        raise
    except Exception as error:
        raise _forward_failed(error, ids_BT) from error
    colours = canonical(trace.graph, trace.output)
    used = {
        place: colours.uses[node]
        for node, place in trace.parameters.items()
        if node in colours.uses
    }
    return [colours.output, *sorted(used.values())], used


def _name_output(model: nn.Module, vocab_size: int) -> str:
    """Return the rounded logits in the best precision and at the greatest length it takes."""
    for dtype, digits in DIGITS.items():
        for shape in (LONG_SHAPE, TRACED_SHAPE):
            try:
                logits = _forward_in(dtype, _copy(model), make_ids(shape, vocab_size))
            except ForwardFailedError:
                continue
            return f"{dtype} {list(logits.shape)} {project(logits, N_PROJECTIONS, digits)}"
    raise ForwardFailedError("forward ran on token ids once and failed the second time")


def _forward_in(dtype: torch.dtype, model: nn.Module, ids_BT: Tensor) -> Tensor:
    if dtype != torch.float64:
        return _forward(model, ids_BT)
    with DoublePrecision():
        return _forward(model.double(), ids_BT)


def _forward(model: nn.Module, ids_BT: Tensor) -> Tensor:
    try:
        logits = model(ids_BT)
    except Exception as error:
        raise _forward_failed(error, ids_BT) from error
    if not isinstance(logits, Tensor) or logits.shape[:2] != ids_BT.shape or logits.ndim != 3:
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ForwardFailedError(
            f"forward returned {found} for token ids {list(ids_BT.shape)}: "
            f"a model returns logits [{ids_BT.shape[0]}, {ids_BT.shape[1]}, vocab_size]"
        )
    return logits


def _copy(model: nn.Module) -> nn.Module:
    # deepcopy refuses a tensor that was computed from a parameter, so it is given the copies.
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(model, computed)
    except Exception as error:
        raise ForwardFailedError(
            f"the model can not be copied ({type(error).__name__}: {error}): "
            "it needs to pass copy.deepcopy"
        ) from error


def _refill_random(model: nn.Module) -> None:
    """Make what was drawn at random independent of the seed; the rest keeps its values."""
    for parameter in model.parameters():
        if pattern_name(parameter) is None:
            refill(parameter, describe_parameter(parameter), is_pattern=False)


def _refill_by_colour(model: nn.Module, colours: Mapping[int, str]) -> None:
    """Give each parameter values of its own, by its colour: equal ones only where equally used."""
    for place, parameter in enumerate(model.parameters()):
        if place in colours:
            is_pattern = pattern_name(parameter) is not None
            refill(parameter, colours[place], is_pattern=is_pattern)


def _forward_failed(error: Exception, ids_BT: Tensor) -> ForwardFailedError:
    message = " ".join(str(error).split())[:300]
    return ForwardFailedError(
        f"forward raised {type(error).__name__} on token ids {list(ids_BT.shape)}: {message}"
    )
