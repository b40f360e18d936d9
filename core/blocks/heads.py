"""The arithmetic of attention heads: which numbers divide, and what heads cost.

D model width, H query heads, G key/value heads, K = D / H, T context.
"""

from arcfusion.core.blocks.component import StateBytes, Surroundings


def divisors(number: int) -> list[int]:
    """Return the divisors of a positive number, ascending."""
    return [n for n in range(1, number + 1) if number % n == 0]


def _listing(numbers: list[int]) -> str:
    return ", ".join(str(n) for n in numbers)


def head_problems(n_heads: int, d_model: int) -> list[str]:
    """Return why H heads can not split a width of D."""
    if d_model % n_heads == 0:
        return []
    return [
        f"n_heads {n_heads} does not divide d_model {d_model}: "
        f"allowed are {_listing(divisors(d_model))}"
    ]


def rope_problems(n_heads: int, d_model: int, surroundings: Surroundings) -> list[str]:
    """Return why heads of width K can not be rotated, if the architecture rotates them."""
    if surroundings.position != "rope" or d_model % n_heads or d_model // n_heads % 2 == 0:
        return []
    even = [n for n in divisors(d_model) if d_model // n % 2 == 0]
    allowed = f"n_heads {_listing(even)}, or" if even else "an even d_model, or"
    return [
        f"head width {d_model // n_heads} (d_model {d_model} / n_heads {n_heads}) is odd and "
        f"position rope rotates pairs: allowed are {allowed} position learned or none"
    ]


def kv_head_problems(n_heads: int, n_kv_heads: int) -> list[str]:
    """Return why G key/value heads can not serve H query heads."""
    if n_heads % n_kv_heads == 0:
        return []
    return [
        f"n_kv_heads {n_kv_heads} does not divide n_heads {n_heads}: "
        f"allowed are {_listing(divisors(n_heads))}"
    ]


def count_attention_parameters(d_model: int, n_heads: int, n_kv_heads: int) -> int:
    """Return the weights of the four projections: 2 D^2 + 2 D G K."""
    return 2 * d_model**2 + 2 * d_model * n_kv_heads * (d_model // n_heads)


def attention_flops_per_token(d_model: int, n_heads: int, n_kv_heads: int, context: int) -> float:
    """Return projections (2 a weight) plus scores and values over (T + 1) / 2 tokens on average."""
    projections = 2.0 * count_attention_parameters(d_model, n_heads, n_kv_heads)
    return projections + 4.0 * d_model * (context + 1) / 2


def attention_state_bytes(
    d_model: int, n_heads: int, n_kv_heads: int, context: int, bytes_per_value: int
) -> StateBytes:
    """Return the cache of T keys and values: 2 T G K values."""
    return StateBytes(
        recurrent=0, kv=2 * context * n_kv_heads * (d_model // n_heads) * bytes_per_value
    )


def attention_activation_values(d_model: int, n_heads: int, n_kv_heads: int) -> int:
    """Return values kept for the backward pass: input, q, k, v, output, one sum a head."""
    return 3 * d_model + 2 * n_kv_heads * (d_model // n_heads) + n_heads
