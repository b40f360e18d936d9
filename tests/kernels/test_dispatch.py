"""The choice of a backend: order, availability, support, and no silent replacement."""

import ast
import math
from pathlib import Path

import pytest
import torch

from arcfusion.kernels import bench
from arcfusion.kernels.conv import chunked as conv_chunked
from arcfusion.kernels.conv import step as conv_step
from arcfusion.kernels.conv.api import CONV
from arcfusion.kernels.dispatch import Backend, Call, Operation, Support, explain, select
from arcfusion.kernels.errors import BackendUnavailableError, KernelError
from arcfusion.kernels.scan import chunked as scan_chunked
from arcfusion.kernels.scan import step as scan_step
from arcfusion.kernels.scan.api import SCAN
from arcfusion.kernels.testing import err_ratio

CALL = Call("cpu", torch.float32)


def make_operation():
    def support(call):
        return Support(call.dtype == torch.float32, "computes in fp32 only")

    return Operation(
        "double",
        (
            Backend(
                name="native",
                function=lambda x: x * 2,
                is_available=lambda: Support(ok=False, why="needs a compiler"),
            ),
            Backend(name="fast", function=lambda x: x + x, supports=support),
            Backend(name="reference", function=lambda x: 2 * x),
        ),
    )


def test_auto_takes_the_first_backend_that_can_run_the_call():
    operation = make_operation()
    assert select(operation, "auto", CALL).name == "fast"
    assert select(operation, "auto", Call("cpu", torch.float64)).name == "reference"


def test_a_named_backend_runs_or_raises_with_the_reason():
    operation = make_operation()
    assert select(operation, "reference", CALL).name == "reference"
    with pytest.raises(BackendUnavailableError, match="native needs a compiler"):
        select(operation, "native", CALL)
    with pytest.raises(BackendUnavailableError, match=r"cpu in torch.float64: fast computes in fp"):
        select(operation, "fast", Call("cpu", torch.float64))


def test_auto_with_nothing_that_runs_gives_every_reason():
    operation = Operation("double", make_operation().backends[:2])
    with pytest.raises(BackendUnavailableError, match="needs a compiler; fast computes in fp32"):
        select(operation, "auto", Call("cpu", torch.float64))


def test_explain_marks_what_auto_takes_and_says_why_others_can_not():
    lines = explain(make_operation(), CALL).splitlines()
    assert lines[0] == "double on cpu in torch.float32:"
    assert lines[1] == "  native: no, needs a compiler"
    assert lines[2].startswith("* fast: yes")
    assert lines[3].startswith("  reference: yes")


@pytest.mark.parametrize("operation", [SCAN, CONV])
def test_the_fast_backend_is_the_automatic_one(operation):
    assert select(operation, "auto", CALL).name == "chunked"
    assert "* chunked: yes" in explain(operation, CALL)


def test_every_kernel_error_can_be_caught_as_one():
    with pytest.raises(KernelError):
        select(SCAN, "gpu", CALL)


@pytest.mark.parametrize("module", [scan_chunked, scan_step, conv_chunked, conv_step])
def test_sources_that_generated_files_copy_import_torch_alone(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import torch"]


def test_measure_times_both_backends_and_restores_the_threads():
    threads = torch.get_num_threads()
    timings = bench.measure(batch=2, length=32, channels=4, states=4, repeats=3, seed=0)
    assert torch.get_num_threads() == threads
    assert set(timings) == {"chunked", "reference"}
    for timing in timings.values():
        assert timing.forward_ms > 0
        assert timing.total_ms == timing.forward_ms + timing.backward_ms


def test_the_error_ratio_shows_wrong_missing_and_undefined_values():
    one = torch.ones(4)
    assert err_ratio(one * 1.5, one) == 0.5
    assert err_ratio(one * 0, one * 0) == 0
    assert err_ratio(one, one * 0) == math.inf
    assert math.isnan(err_ratio(one * math.nan, one))
    assert math.isnan(err_ratio(one * math.nan, one * 0))
