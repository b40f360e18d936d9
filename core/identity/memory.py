"""Which computed number lies in which place of memory while a forward is traced.

Each node of the graph computes numbers; each number gets an id. For each storage of torch there is
an array of ids, one an element. A view is then read by its own strides, a write through a view
puts ids into a part of the array, and moving numbers about (clone, cat, index_select, ...) moves
ids. So every way to move the same numbers to the same place gives the same ids, and what changes
nothing (a view to the same shape, an expand of nothing, a copy) disappears.
"""

import bisect
import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from arcfusion.core.identity.graph import Graph

# A leaf above this many elements gets no ids (8 bytes each) until it is moved or written to: views
# of it are named by their strides.
MAX_LEAF_IDS = 2**18

# What is read before any operation wrote it.
UNWRITTEN = "unwritten"
UNWRITTEN_ID = -1
# A part of a storage that has not been looked at yet.
UNSEEN_ID = -2

Place = tuple[int, torch.dtype]
Geometry = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(slots=True)
class _Storage:
    """The ids of one storage; None stands for first_id + position: a leaf that nobody wrote to."""

    n_elements: int
    first_id: int
    ids: Tensor | None
    has_unseen: bool = False
    version: int = 0


@dataclass(slots=True)
class Memory:
    """The ids of everything that a trace has seen."""

    graph: Graph
    _storages: dict[Place, _Storage] = field(default_factory=dict)
    _alive: list[Tensor] = field(default_factory=list)
    _first_ids: list[int] = field(default_factory=list)
    _nodes: list[int] = field(default_factory=list)
    _first_id_of: dict[int, int] = field(default_factory=dict)
    _next_id: int = 0
    _reads: dict[tuple[object, ...], int] = field(default_factory=dict)

    def knows(self, tensor: Tensor) -> bool:
        """Say whether there are ids for each of the tensor's numbers."""
        storage = self._storages.get(_place(tensor))
        if storage is None or not storage.has_unseen:
            return storage is not None
        return bool((self.ids(tensor) != UNSEEN_ID).all())

    def ids_of_node(self, node: int, n_elements: int) -> int:
        """Return the first id of the node's numbers, giving ids to them at the first call."""
        first_id = self._first_id_of.get(node)
        if first_id is None:
            first_id = self._first_id_of[node] = self._next_id
            self._first_ids.append(first_id)
            self._nodes.append(node)
            self._next_id += n_elements
        return first_id

    def place_leaf(self, tensor: Tensor, node: int) -> None:
        """Record a parameter or a constant; its numbers are the node's, in order."""
        n_elements = _n_elements(tensor)
        if tensor.is_contiguous() and tensor.numel() == n_elements:
            self._alive.append(tensor)
            first_id = self.ids_of_node(node, n_elements)
            self._storages[_place(tensor)] = _Storage(n_elements, first_id, None)
        else:
            self.place(tensor, self.fresh_ids(tensor, node))

    def fresh_ids(self, tensor: Tensor, node: int) -> Tensor:
        """Return the ids of the node's numbers in the tensor's shape."""
        first_id = self.ids_of_node(node, tensor.numel())
        return torch.arange(first_id, first_id + tensor.numel()).view(tensor.shape)

    def constant_ids(self, tensor: Tensor, kind: str) -> Tensor:
        """Return ids in the tensor's shape for one number that stands in every place."""
        node = self.graph.add(kind)
        return torch.full(tensor.shape, self.ids_of_node(node, 1), dtype=torch.int64)

    def place(self, tensor: Tensor, ids: Tensor) -> None:
        """Record a tensor with a storage of its own, or whose storage is seen in a new dtype.

        Args:
            tensor: the tensor.
            ids: in its shape; they become the memory's own.
        """
        self._alive.append(tensor)
        n_elements = _n_elements(tensor)
        storage = self._storages.get(_place(tensor))
        if storage is None and tensor.is_contiguous() and tensor.numel() == n_elements:
            self._storages[_place(tensor)] = _Storage(n_elements, 0, ids.reshape(-1))
            return
        if storage is None:
            unseen = torch.full((n_elements,), UNSEEN_ID)
            storage = _Storage(n_elements, 0, unseen, has_unseen=True)
            self._storages[_place(tensor)] = storage
        positions = torch.arange(n_elements).as_strided(*_geometry(tensor))
        _materialise(storage)[positions.reshape(-1)] = ids.reshape(-1)
        storage.version += 1

    def write(self, tensor: Tensor, ids: Tensor) -> None:
        """Record that the tensor's part of its storage was overwritten."""
        place = _place(tensor)
        storage = self._storages[place]
        if storage.n_elements != _n_elements(tensor):  # `out=` made its memory larger
            del self._storages[place]
            self.place(tensor, ids)
            return
        _materialise(storage).as_strided(*_geometry(tensor)).copy_(ids.expand(tensor.shape))
        storage.version += 1
        # What this storage says as numbers of another dtype is not known any more.
        for other in [p for p in self._storages if p[0] == place[0] and p != place]:
            del self._storages[other]

    def ids(self, tensor: Tensor) -> Tensor:
        """Return the ids of a known tensor in its shape; not to be written to."""
        return _materialise(self._storages[_place(tensor)]).as_strided(*_geometry(tensor))

    def read(self, tensor: Tensor, *, is_flat: bool) -> int:
        """Return the node whose numbers the tensor holds, in its shape or as a flat list."""
        storage = self._storages[_place(tensor)]
        geometry = _geometry(tensor)
        key = (_place(tensor), storage.version, geometry, is_flat)
        if key not in self._reads:
            if storage.ids is None and storage.n_elements > MAX_LEAF_IDS:
                self._reads[key] = self._read_large(storage, geometry, is_flat=is_flat)
            else:
                self._reads[key] = self._read(self.ids(tensor), is_flat=is_flat)
        node = self._reads[key]
        if tensor.is_conj():
            node = self.graph.add("conjugate", (node,))
        return self.graph.add("negative", (node,)) if tensor.is_neg() else node

    def _node_of(self, id_: int) -> tuple[int, int]:
        """Return the node that computed a number, and the first id of that node."""
        if id_ < 0:
            return self.graph.add(UNWRITTEN), UNSEEN_ID
        index = bisect.bisect_right(self._first_ids, id_) - 1
        return self._nodes[index], self._first_ids[index]

    def _read(self, ids: Tensor, *, is_flat: bool) -> int:
        n_numbers = ids.numel()
        shape = [n_numbers] if is_flat else list(ids.shape)
        if n_numbers == 0:
            return self.graph.add(f"empty {shape}")
        flat = ids.reshape(-1)
        low, high = (int(x) for x in flat.aminmax())
        node, first_id = self._node_of(low)
        if self._node_of(high)[0] != node:
            return self._read_several(flat, shape)
        if high - low + 1 == n_numbers and torch.equal(flat, torch.arange(low, high + 1)):
            if is_flat and low == first_id and n_numbers == self._count_numbers(node):
                return node
            moved = f"run {low - first_id}"
        elif high == low:
            moved = f"repeat {low - first_id}"
        else:
            moved = _digest((flat - first_id).numpy())
        return self.graph.add(f"move {shape} {moved}", (node,))

    def _read_several(self, flat: Tensor, shape: list[int]) -> int:
        """Name numbers from several nodes: the nodes in order of first use, and who is where."""
        array = flat.numpy()
        first_ids = np.array([UNSEEN_ID, *self._first_ids])
        owners = np.searchsorted(first_ids, array, side="right") - 1
        used, first_use, local = np.unique(owners, return_index=True, return_inverse=True)
        order = np.argsort(first_use)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        moved = _digest(rank[local].astype(np.int64)) + _digest(array - first_ids[owners])
        nodes = tuple(self._node_of(int(first_ids[o]))[0] for o in used[order])
        return self.graph.add(f"move {shape} {moved}", nodes)

    def _read_large(self, storage: _Storage, geometry: "Geometry", *, is_flat: bool) -> int:
        node, _ = self._node_of(storage.first_id)
        size, stride, offset = geometry
        n_numbers = int(np.prod(size))
        steps = [0 if n == 1 else step for n, step in zip(size, stride, strict=True)]
        if n_numbers == storage.n_elements and torch.empty(size, device="meta").stride() == stride:
            if is_flat:
                return node
            return self.graph.add(f"move {list(size)} run 0", (node,))
        shape = [n_numbers] if is_flat else list(size)
        return self.graph.add(f"move {shape} strided {list(size)} {steps} {offset}", (node,))

    def _count_numbers(self, node: int) -> int:
        index = bisect.bisect_left(self._first_ids, self._first_id_of[node])
        last = self._first_ids[index + 1] if index + 1 < len(self._first_ids) else self._next_id
        return last - self._first_ids[index]


def _place(tensor: Tensor) -> Place:
    return tensor.untyped_storage()._cdata, tensor.dtype


def _geometry(tensor: Tensor) -> Geometry:
    return tuple(tensor.size()), tensor.stride(), int(tensor.storage_offset())


def _n_elements(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _materialise(storage: _Storage) -> Tensor:
    if storage.ids is None:
        storage.ids = torch.arange(storage.first_id, storage.first_id + storage.n_elements)
    return storage.ids


def _digest(offsets: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> str:
    data = np.ascontiguousarray(offsets, dtype=np.int32)
    return hashlib.blake2b(data.data, digest_size=16).hexdigest()
