"""Known architectures as compositions of the library's components.

At the lab's CPU width, so that each can be built and trained here; `paper_size` says what the paper
built, `deviations` what the components can not say yet. Nothing is hidden behind a famous name.
"""

from dataclasses import dataclass

from arcfusion.core.spec import ArchSpec, Choice, LayerSpec

D_MODEL = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A published architecture: its composition, who published it, and how far this is from it."""

    spec: ArchSpec
    year: int
    paper: str
    paper_size: str
    deviations: str

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.spec.name

    def components(self) -> list[str]:
        """Return the names of its parts in the order in which data meets them."""
        parts: list[str] = [self.spec.position] if self.spec.position != "none" else []
        for layer in self.spec.layers:
            parts += [self.spec.norm, layer.mixer.kind, self.spec.norm, layer.channel.kind]
        return [*parts, self.spec.norm]


def _layer(mixer: str, channel: str, **options: int) -> LayerSpec:
    return LayerSpec(mixer=Choice(kind=mixer, options=dict(options)), channel=Choice(kind=channel))


def list_engines() -> list[Engine]:
    """Return the known architectures, oldest first."""
    return [*_list_classic(), *_list_current()]


def _list_classic() -> list[Engine]:
    mha_mlp = _layer("mha", "mlp", n_heads=4)
    return [
        Engine(
            spec=_spec(
                "Transformer", (_layer("mha", "mlp", n_heads=8),) * 4, "layernorm", "learned"
            ),
            year=2017,
            paper="Vaswani et al. 2017, arXiv:1706.03762",
            paper_size="d_model 512, 6 layers, 8 heads",
            deviations="decoder only, norm before each block, learned positions, GELU",
        ),
        Engine(
            spec=_spec("GPT-2", (mha_mlp,) * 6, "layernorm", "learned"),
            year=2019,
            paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
            paper_size="d_model 768, 12 layers, 12 heads",
            deviations="no biases in the linear maps",
        ),
        Engine(
            spec=_spec(
                "LinearTransformer",
                (_layer("linear_attention", "mlp", n_heads=4),) * 4,
                "layernorm",
                "learned",
            ),
            year=2020,
            paper="Katharopoulos et al. 2020, arXiv:2006.16236",
            paper_size="d_model 256, 8 layers, 8 heads",
            deviations="norm before each block, GELU",
        ),
    ]


def _list_current() -> list[Engine]:
    mamba = _layer("mamba1", "swiglu")
    return [
        Engine(
            spec=_spec("LLaMA", (_layer("mha", "swiglu", n_heads=4),) * 4, untied=True),
            year=2023,
            paper="Touvron et al. 2023, arXiv:2302.13971",
            paper_size="d_model 4096, 32 layers, 32 heads",
            deviations="none but the size",
        ),
        Engine(
            spec=_spec(
                "Mistral", (_layer("gqa", "swiglu", n_heads=8, n_kv_heads=2),) * 4, untied=True
            ),
            year=2023,
            paper="Jiang et al. 2023, arXiv:2310.06825",
            paper_size="d_model 4096, 32 layers, 32 heads over 8 key/value heads",
            deviations="full instead of sliding-window attention",
        ),
        Engine(
            spec=_spec("Mamba", (mamba,) * 4, position="none"),
            year=2023,
            paper="Gu and Dao 2023, arXiv:2312.00752",
            paper_size="d_model 768, 24 layers",
            deviations="a channel mixer after each Mamba block, where the paper has none",
        ),
        Engine(
            spec=_spec(
                "Jamba",
                (
                    *(mamba,) * 4,
                    _layer("gqa", "swiglu", n_heads=8, n_kv_heads=2),
                    *(mamba,) * 3,
                ),
                position="none",
                untied=True,
            ),
            year=2024,
            paper="Lieber et al. 2024, arXiv:2403.19887",
            paper_size="d_model 4096, 4 blocks of 8 layers, one attention layer a block",
            deviations="no mixture of experts; no extra norms inside Mamba",
        ),
    ]


def _spec(
    name: str,
    layers: tuple[LayerSpec, ...],
    norm: str = "rmsnorm",
    position: str = "rope",
    *,
    untied: bool = False,
) -> ArchSpec:
    return ArchSpec(
        name=name,
        d_model=D_MODEL,
        layers=layers,
        norm=norm,
        position=position,
        tied_head=not untied,
    )
