"""Framed messages over a socket between the supervisor and a process that runs untrusted code.

A frame is the length of a JSON header (4 bytes, big-endian), the header, and the bytes of at most
one array. Sizes are capped before anything is allocated, nothing is unpickled, and what does not
fit the schema is an error.
"""

import json
import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.errors import ArcFusionError

Scalar = str | int | float | bool | None

_HEADER_BYTES = 64 * 1024
_ARRAY_BYTES = 64 << 20
_LENGTH = struct.Struct(">I")
_ITEM_BYTES = {"int64": 8, "float32": 4}
_MAX_DIMENSIONS = 3


class ChannelClosedError(ArcFusionError):
    """The other side is gone."""


class ProtocolViolationError(ArcFusionError):
    """The other side sent something that is not a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One frame.

    Attributes:
        kind: what it is about.
        fields: flat values of JSON.
        array: int64 or float32, or None.
    """

    kind: str
    fields: Mapping[str, Scalar]
    array: NDArray[np.int64] | NDArray[np.float32] | None = None

    def text(self, name: str, *, limit: int = 2000) -> str:
        """A field that must be text; longer text is cut.

        Raises:
            ProtocolViolationError: it is missing or not text.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise ProtocolViolationError(f"{self.kind}.{name} is {value!r:.100}: it must be text")
        return value[:limit]

    def integer(self, name: str, *, largest: int = 2**53) -> int:
        """A field that must be an integer in [0, largest].

        Raises:
            ProtocolViolationError: it is not.
        """
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
            raise ProtocolViolationError(
                f"{self.kind}.{name} is {value!r:.100}: it must be in [0, {largest}]"
            )
        return value

    def number(self, name: str) -> float:
        """A field that must be a finite number.

        Raises:
            ProtocolViolationError: it is not.
        """
        value = self.fields.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ProtocolViolationError(
                f"{self.kind}.{name} is {value!r:.100}: it must be a finite number"
            )
        return float(value)


class Channel:
    """One end of a stream socket; used by one thread."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(
        self,
        kind: str,
        fields: Mapping[str, Scalar] | None = None,
        array: NDArray[np.int64] | NDArray[np.float32] | None = None,
    ) -> None:
        """Send one message.

        Raises:
            ChannelClosedError: the other side is gone.
        """
        header: dict[str, object] = {"kind": kind, "fields": dict(fields or {})}
        if array is not None:
            header["array"] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        raw = json.dumps(header).encode()
        try:
            self._stream.sendall(_LENGTH.pack(len(raw)) + raw)
            if array is not None:
                self._stream.sendall(np.ascontiguousarray(array).data.cast("B"))
        except OSError as error:
            raise ChannelClosedError(f"the other side is gone: {error}") from error

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            ChannelClosedError: the other side is gone.
            ProtocolViolationError: what came is not a message, or is larger than allowed.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _HEADER_BYTES:
            raise ProtocolViolationError(f"a header of {length} bytes: at most {_HEADER_BYTES}")
        try:
            header = json.loads(bytes(self._read(length)))
        except (ValueError, RecursionError) as error:
            raise ProtocolViolationError(f"a header that is not JSON: {error}") from error
        if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
            raise ProtocolViolationError("a header without a kind")
        fields = header.get("fields", {})
        if not isinstance(fields, dict) or not all(
            value is None or isinstance(value, str | int | float) for value in fields.values()
        ):
            raise ProtocolViolationError("fields that are not flat values")
        array = None if header.get("array") is None else self._read_array(header["array"])
        return Message(kind=header["kind"], fields=fields, array=array)

    def close(self) -> None:
        """Close this end."""
        self._stream.close()

    def _read_array(self, description: object) -> NDArray[np.int64] | NDArray[np.float32]:
        if not isinstance(description, dict):
            raise ProtocolViolationError("an array without a description")
        dtype = str(description.get("dtype"))
        shape = description.get("shape")
        if dtype not in _ITEM_BYTES or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
            raise ProtocolViolationError(f"an array of {str(description)[:100]}")
        if not all(type(size) is int and 0 < size < 2**31 for size in shape):
            raise ProtocolViolationError(f"an array of shape {str(shape)[:100]}")
        size_bytes = math.prod(shape) * _ITEM_BYTES[dtype]
        if size_bytes > _ARRAY_BYTES:
            raise ProtocolViolationError(f"an array of {size_bytes} bytes: at most {_ARRAY_BYTES}")
        data = self._read(size_bytes)
        if dtype == "int64":
            return np.frombuffer(data, dtype=np.int64).reshape(shape)
        return np.frombuffer(data, dtype=np.float32).reshape(shape)

    def _read(self, size_bytes: int) -> bytearray:
        buffer = bytearray(size_bytes)
        view = memoryview(buffer)
        done = 0
        while done < size_bytes:
            try:
                count = self._stream.recv_into(view[done:])
            except OSError as error:
                raise ChannelClosedError(f"the other side is gone: {error}") from error
            if count == 0:
                raise ChannelClosedError
            done += count
        return buffer
