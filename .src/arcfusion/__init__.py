"""ArcFusion: a lab in which agents look for better sequence models, and whose findings are true."""

from pathlib import Path

__version__ = "0.1.0"

_src = Path(__file__).resolve().parents[1]
if _src.name == ".src":  # a checkout, not an installed wheel
    __path__.insert(0, str(_src.parent))
