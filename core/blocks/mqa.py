"""Multi-query attention: one key/value head serves every query head."""

from arcfusion.core.blocks.softmax_attention import HeadOptions, attention_component

COMPONENT = attention_component(
    name="mqa",
    description="multi-query softmax attention: one key/value head serves every query head",
    options=HeadOptions,
    n_kv_heads=lambda _options: 1,
    source="Shazeer 2019, arXiv:1911.02150",
    year=2019,
    space_complexity="O(T D / H)",
)
