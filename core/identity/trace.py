"""One forward of a model, recorded as a graph of torch's own operations.

A TorchDispatchMode sees every operation below autograd, also inside autograd.Functions: names of
attributes, modules and Python functions are gone. `memory` follows where each number lies; here
stands what an operation does to numbers: it moves them, fills in a constant, or computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from arcfusion.core.errors import BadInputError
from arcfusion.core.identity.content import content_name, pattern_name
from arcfusion.core.identity.graph import Graph
from arcfusion.core.identity.memory import UNWRITTEN, UNWRITTEN_ID, Memory
from arcfusion.core.identity.mode import OperationMode
from arcfusion.core.identity.operation import (
    Argument,
    Call,
    Operation,
    describe,
    read_call,
    read_operation,
    tensors_in,
)

# These leave each number as it is and put it elsewhere: run on ids, they give the result's ids.
MOVES = frozenset(
    {
        "clone",
        "cat",
        "stack",
        "repeat",
        "flip",
        "roll",
        "constant_pad_nd",
        "expand_copy",
        "view_copy",
        "slice_scatter",
        "select_scatter",
        "lift_fresh_copy",
        "detach_copy",
    }
)
# The same, when the positions that they take depend on neither the token ids nor a parameter.
INDEXED_MOVES = frozenset({"index_select", "gather", "index", "take"})
FILLS = frozenset(
    {
        "zeros",
        "ones",
        "full",
        "zeros_like",
        "ones_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "scalar_tensor",
        "zero",
        "fill",
    }
)
ALLOCATIONS = frozenset(
    {
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
        "empty_permuted",
    }
)
COMMUTATIVE = frozenset(
    {
        "add",
        "mul",
        "maximum",
        "minimum",
        "eq",
        "ne",
        "logical_and",
        "logical_or",
        "logical_xor",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
    }
)


class RandomForwardError(BadInputError):
    """The model draws random numbers in eval mode."""


class UntracedMemoryError(BadInputError):
    """The model's output depends on memory that no operation of torch wrote."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded forward.

    Attributes:
        graph: what was computed.
        output: the node of the logits.
        parameters: node -> place of the parameter among the model's parameters.
    """

    graph: Graph
    output: int
    parameters: dict[int, int]


def describe_parameter(parameter: nn.Parameter) -> str:
    """Name what is known of a parameter apart from its use: its values only if not random."""
    trained = "trained" if parameter.requires_grad else "frozen"
    values = pattern_name(parameter) or "random"
    return f"parameter {list(parameter.shape)} {parameter.dtype} {trained} {values}"


def trace_forward(model: nn.Module, ids_BT: Tensor, *, allow_random: bool) -> Trace:
    """Run the model once without gradients and record what it computes.

    Args:
        model: on the CPU; it runs in the mode (train or eval) that it is in.
        ids_BT: token ids.
        allow_random: False makes a random draw an error; True records it as a draw.

    Raises:
        RandomForwardError: the model draws random numbers and must not.
        UntracedMemoryError: the output depends on memory that no operation of torch wrote.
        TypeError: the model does not return a tensor.
    """
    recorder = _Recorder(model, ids_BT, allow_random=allow_random)
    with torch.no_grad(), recorder:
        logits = model(ids_BT)
    if not isinstance(logits, Tensor):
        raise TypeError(f"forward returned {type(logits).__name__}, not a tensor of logits")
    output = recorder.read(logits, is_flat=False)
    graph = recorder.graph
    if any(graph.nodes[number].kind == UNWRITTEN for number in graph.reachable(output)):
        raise UntracedMemoryError(
            "the output depends on memory that no operation of torch wrote (torch.empty that is "
            "read, or a kernel called through a pointer): use a backend made of torch operations"
        )
    return Trace(graph, output, recorder.parameters)


class _Recorder(OperationMode):
    """Lets each operation run, and records it."""

    def __init__(self, model: nn.Module, ids_BT: Tensor, *, allow_random: bool) -> None:
        super().__init__()
        self.graph = Graph()
        self.parameters: dict[int, int] = {}
        self._memory = Memory(self.graph)
        self._operations: dict[OpOverload, Operation] = {}
        self._allow_random = allow_random
        self._n_draws = 0
        self._memory.place_leaf(ids_BT, self.graph.add("token ids", is_constant=False))
        for place, parameter in enumerate(model.parameters()):
            kind = describe_parameter(parameter)
            node = self.graph.add(kind, is_constant=False, identity=place)
            self.parameters[node] = place
            self._memory.place_leaf(parameter, node)

    def call(self, operation: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Run the operation and record it."""
        known = self._operations.get(operation)
        if known is None:
            known = self._operations[operation] = read_operation(operation)
        call = read_call(known, args, kwargs)
        for tensor in [*call.tensors, *call.written.values()]:
            self._place_if_unknown(tensor)
        if known.is_view:
            return operation(*args, **kwargs)
        # What the operation reads is looked up before the operation overwrites any of it.
        moved = self._moved_ids(operation, call, args, kwargs)
        computed = self._start_computation(call) if moved is None else None
        result = operation(*args, **kwargs)
        if moved is not None:
            self._store(call, result, moved)
        elif computed is None:
            self._store(call, result, self._filled_ids(call, result))
        else:
            self._finish_computation(call, computed, result)
        return result

    def read(self, tensor: Tensor, *, is_flat: bool) -> int:
        """Return the node of a tensor's numbers, as a flat list or in the tensor's shape."""
        self._place_if_unknown(tensor)
        return self._memory.read(tensor, is_flat=is_flat)

    def _place_if_unknown(self, tensor: Tensor) -> None:
        """Place a buffer or a literal: it is what its numbers are."""
        if self._memory.knows(tensor):
            return
        first = tensor.detach().reshape(-1)[:1]
        if tensor.numel() and bool((tensor.detach() == first).all()):
            self._memory.place(tensor, self._memory.constant_ids(tensor, _constant(first)))
        else:
            self._memory.place_leaf(tensor, self.graph.add(content_name(tensor)))

    def _moved_ids(
        self, operation: OpOverload, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor | None:
        """Return the ids of the result if the operation only moves numbers."""
        tensors = call.tensors
        if any(t.is_conj() or t.is_neg() for t in tensors):
            return None
        if call.name in {"copy", "fill"} and len(tensors) == 2:
            target, source = tensors
            if source.dtype != target.dtype:
                return None
            return self._memory.ids(source).expand(target.shape).clone()
        if call.name == "_to_copy":
            is_same = kwargs.get("dtype") in {None, tensors[0].dtype}
            return self._memory.ids(tensors[0]).clone() if is_same else None
        if not self._is_move(call, tensors):
            return None
        sources = tensors[:1] if call.name in INDEXED_MOVES else tensors
        ids = {id(source): self._memory.ids(source) for source in sources}
        args, kwargs = tree_map_only(Tensor, lambda t: ids.get(id(t), t), (args, kwargs))
        if call.name == "constant_pad_nd":
            padding = torch.tensor([call.arguments["value"]]).to(sources[0].dtype)
            args = (*args[:2], int(self._memory.constant_ids(padding, _constant(padding))))
        moved = operation(*args, **kwargs)
        assert isinstance(moved, Tensor)
        return moved

    def _is_move(self, call: Call, tensors: list[Tensor]) -> bool:
        if call.written:
            return False
        if call.name in INDEXED_MOVES:
            indices = [self.read(t, is_flat=True) for t in tensors[1:]]
            return all(self.graph.nodes[i].is_constant for i in indices)
        return call.name in MOVES and len({t.dtype for t in tensors}) == 1

    def _filled_ids(self, call: Call, result: Argument) -> Tensor:
        assert isinstance(result, Tensor)
        if call.name in ALLOCATIONS or result.numel() == 0:
            return torch.full(result.shape, UNWRITTEN_ID)
        return self._memory.constant_ids(result, _constant(result.reshape(-1)[:1]))

    def _start_computation(self, call: Call) -> "_Computation | None":
        """Read the operands; None if the operation takes none and fills or allocates memory."""
        value = call.arguments.get("value")
        if call.name in ALLOCATIONS | FILLS and not isinstance(value, Tensor):
            return None
        tensors = call.tensors
        identity = None
        if call.is_random:
            identity = self._draw(call)
            # dropout draws into fresh memory: what was there does not matter.
            overwritten = {id(t) for t in call.written.values()}
            tensors = [t for t in tensors if id(t) not in overwritten]
        if call.name == "copy" and len(tensors) == 2:
            target, source = tensors
            copied = self.read(source.expand(target.shape), is_flat=True)
            return _Computation("_to_copy", {"self": source}, (copied,))
        if call.name == "addmm" and call.arguments["alpha"] == call.arguments["beta"] == 1.0:
            return self._start_addmm(*tensors)
        shape = _broadcast_shape(tensors) if call.operation.is_pointwise else None
        if shape is None:
            operands = tuple(self.read(t, is_flat=False) for t in tensors)
        else:
            operands = tuple(self.read(t.expand(shape), is_flat=True) for t in tensors)
        return _Computation(call.name, call.arguments, operands, identity)

    def _start_addmm(self, bias: Tensor, left: Tensor, right: Tensor) -> "_Computation":
        """Split bias + left @ right: which form nn.Linear takes depends on its input's strides."""
        operands = self.read(left, is_flat=False), self.read(right, is_flat=False)
        product = self.graph.add(describe("mm", {"self": left, "mat2": right}, [left]), operands)
        shape = (left.shape[0], right.shape[1])
        self._memory.ids_of_node(product, shape[0] * shape[1])
        read_bias = self.read(bias.expand(shape), is_flat=True)
        arguments: dict[str, Argument] = {"self": left, "other": bias, "alpha": 1.0}
        return _Computation("add", arguments, (read_bias, product))

    def _draw(self, call: Call) -> int:
        if not self._allow_random:
            raise RandomForwardError(
                f"the model draws random numbers in eval mode ({call.name}): two calls give two "
                "answers, so it has no identity; draw in training mode only"
            )
        self._n_draws += 1
        return self._n_draws

    def _finish_computation(
        self, call: Call, computation: "_Computation", result: Argument
    ) -> None:
        results = {str(i): t for i, t in enumerate(tensors_in(result))}
        returned = {id(t) for t in results.values()}
        results |= {name: t for name, t in call.written.items() if id(t) not in returned}
        name, arguments, operands, identity = computation
        node = self.graph.add(
            describe(name, arguments, list(results.values())),
            operands,
            is_commutative=name in COMMUTATIVE and arguments.get("alpha", 1.0) == 1.0,
            is_constant=identity is None,
            identity=identity,
        )
        written = {id(t) for t in call.written.values()}
        for label, tensor in results.items():
            part = node if len(results) == 1 else self.graph.add(f"result {label}", (node,))
            ids = self._memory.fresh_ids(tensor, part)
            if id(tensor) in written:
                self._memory.write(tensor, ids)
            elif call.operation.is_reinterpretation or not self._memory.knows(tensor):
                self._memory.place(tensor, ids)

    def _store(self, call: Call, result: Argument, ids: Tensor) -> None:
        """Put ids where the operation put its one result."""
        if call.written:
            (target,) = call.written.values()
            self._memory.write(target, ids)
        else:
            assert isinstance(result, Tensor)
            self._memory.place(result, ids)


class _Computation(NamedTuple):
    """What is computed: an operation, its arguments, the nodes of its tensors, and its draw."""

    name: str
    arguments: Mapping[str, Argument]
    operands: tuple[int, ...]
    draw: int | None = None


def _constant(first: Tensor) -> str:
    """Name the number of which every place of a constant holds one."""
    return f"constant {first.detach().item()!r} {first.dtype}"


def _broadcast_shape(tensors: Sequence[Tensor]) -> torch.Size | None:
    if tensors and all(t.shape == tensors[0].shape for t in tensors):
        return tensors[0].shape
    try:
        shape: torch.Size = torch.broadcast_shapes(  # type: ignore[no-untyped-call]  # torch's own
            *(t.shape for t in tensors)
        )
    except RuntimeError:
        return None
    return shape
