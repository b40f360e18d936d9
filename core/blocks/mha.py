"""Multi-head attention: as many key/value heads as query heads."""

from arcfusion.core.blocks.softmax_attention import HeadOptions, attention_component

COMPONENT = attention_component(
    name="mha",
    description="multi-head softmax attention: every query head has its own keys and values",
    options=HeadOptions,
    n_kv_heads=lambda options: options.n_heads,
    source="Vaswani et al. 2017, arXiv:1706.03762",
    year=2017,
    space_complexity="O(T D)",
)
