"""What crosses the border between the supervisor and untrusted code is a message or an error."""

import json
import socket
import struct
import threading

import numpy as np
import pytest

from arcfusion.experiments.runner.channel import (
    Channel,
    ChannelClosedError,
    ProtocolViolationError,
)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield Channel(ours), theirs


def frame(header):
    raw = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack(">I", len(raw)) + raw


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_message_arrives_as_it_was_sent(ends, dtype):
    channel, theirs = ends
    array = np.arange(600_000).reshape(2, 3, 100_000).astype(dtype)
    other = Channel(theirs)
    sender = threading.Thread(target=other.send, args=("logits", {"step": 3}, array))
    sender.start()
    message = channel.receive()
    sender.join()
    assert (message.kind, dict(message.fields)) == ("logits", {"step": 3})
    assert message.array.dtype == dtype
    assert np.array_equal(message.array, array)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        frame(b"not json"),
        frame(b"[" * 60_000),
        frame([]),
        frame({"fields": {}}),
        frame({"kind": 3}),
        frame({"kind": "a", "fields": []}),
        frame({"kind": "a", "fields": {"x": {}}}),
        frame({"kind": "a", "array": 1}),
        frame({"kind": "a", "array": {"dtype": "object", "shape": [1]}}),
        frame({"kind": "a", "array": {"dtype": "int64", "shape": [-1]}}),
        frame({"kind": "a", "array": {"dtype": "int64", "shape": [True]}}),
        frame({"kind": "a", "array": {"dtype": "int64", "shape": [1, 1, 1, 1]}}),
        frame({"kind": "a", "array": {"dtype": "float32", "shape": [2**30, 2**30]}}),
    ],
)
def test_what_is_not_a_message_is_refused_before_anything_is_allocated(ends, raw):
    channel, theirs = ends
    theirs.sendall(raw)
    with pytest.raises(ProtocolViolationError):
        channel.receive()


def test_a_side_that_is_gone_is_noticed(ends):
    channel, theirs = ends
    theirs.sendall(frame({"kind": "a", "array": {"dtype": "int64", "shape": [4]}}) + b"half")
    theirs.close()
    with pytest.raises(ChannelClosedError):
        channel.receive()
    with pytest.raises(ChannelClosedError):
        channel.send("more", {}, np.zeros(1_000_000, np.float32))


@pytest.mark.parametrize("value", [True, -1, 1.5, "3", None, 2**60])
def test_a_count_that_is_none_is_refused(ends, value):
    channel, theirs = ends
    theirs.sendall(frame({"kind": "step", "fields": {"step": value}}))
    with pytest.raises(ProtocolViolationError, match="step"):
        channel.receive().integer("step", largest=100)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True])
def test_a_number_that_is_none_is_refused(ends, value):
    channel, theirs = ends
    theirs.sendall(frame({"kind": "step", "fields": {"loss": value}}))
    with pytest.raises(ProtocolViolationError, match="loss"):
        channel.receive().number("loss")


def test_long_text_is_cut(ends):
    channel, theirs = ends
    Channel(theirs).send("ended", {"reason": "x" * 5000})
    assert len(channel.receive().text("reason", limit=100)) == 100
