"""The closed loop's proofs: every line of its table that a program can measure."""

from collections.abc import Callable, Iterable

from arcfusion.agents.bench import (
    crash,
    demo,
    design,
    gates,
    identity,
    noise,
    overhead,
    scan,
    startup,
    suite,
)
from arcfusion.agents.bench.record import Row

GROUPS: dict[str, Callable[[bool], Iterable[Row]]] = {
    "startup": startup.measure,
    "scan": scan.measure,
    "dreams": design.measure_dreams,
    "codegen": design.measure_codegen,
    "identity": identity.measure,
    "leaks": gates.measure,
    "overhead": overhead.measure,
    "noise": noise.measure,
    "demo": demo.measure,
    "crash": crash.measure,
    "suite": suite.measure,
}
