"""The byte tokenizer: a token is one byte, so bits per token are bits per byte."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ByteTokenizer:
    """Maps text to the bytes of its UTF-8 form; ids are in [0, 256)."""

    vocab_size: int = 256

    @property
    def identity(self) -> str:
        """What the protocol records; another identity means that losses can not be compared."""
        return f"byte-{self.vocab_size}"

    def encode(self, data: bytes) -> NDArray[np.uint16]:
        """Return one id a byte."""
        return np.frombuffer(data, dtype=np.uint8).astype(np.uint16)

    def decode(self, tokens: NDArray[np.integer]) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD."""
        return tokens.astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def count_bytes(self, tokens: NDArray[np.integer]) -> int:
        """Return the number of bytes of text that the tokens stand for."""
        return int(tokens.size)
