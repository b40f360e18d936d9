import io

from arcfusion.core.training.curve import CurvePoint, CurveWriter, read_curve
from arcfusion.core.training.progress import ProgressBar


def point(step, val_loss=None):
    return CurvePoint(
        step=step, train_loss=step / 2, learning_rate=0.1, grad_norm=1.0, val_loss=val_loss
    )


def write(path, steps, resumed_step=0):
    writer = CurveWriter(path, resumed_step=resumed_step)
    for step in steps:
        writer.append(point(step))
    writer.close()


def test_points_come_back_in_order(tmp_path):
    path = tmp_path / "curve.jsonl"
    write(path, [1, 2, 3])
    assert read_curve(path) == [point(1), point(2), point(3)]
    assert read_curve(tmp_path / "none.jsonl") == []


def test_a_torn_last_line_is_ignored_and_overwritten(tmp_path):
    path = tmp_path / "curve.jsonl"
    write(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-20])
    assert read_curve(path) == [point(1)]
    write(path, [2, 3], resumed_step=1)
    assert read_curve(path) == [point(1), point(2), point(3)]


def test_a_whole_line_without_its_newline_is_torn(tmp_path):
    path = tmp_path / "curve.jsonl"
    write(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-1])
    assert read_curve(path) == [point(1)]


def test_lines_past_the_checkpoint_are_dropped_on_resume(tmp_path):
    path = tmp_path / "curve.jsonl"
    write(path, [1, 2, 3, 4, 5])
    write(path, [3], resumed_step=2)
    assert [p.step for p in read_curve(path)] == [1, 2, 3]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_is_drawn_on_a_terminal_and_ends_its_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    bar = ProgressBar(4, "train", stream=stream, now_s=iter([0.0, 0.05, 1.0, 1.01]).__next__)
    bar.update(1, "loss 5.55")
    bar.update(2)
    bar.update(3)
    bar.update(4)
    bar.close()
    lines = stream.getvalue().split("\r")[1:]
    assert len(lines) == 3
    assert lines[0] == "train [######..................] 1/4 loss 5.55"
    assert lines[-1].startswith("train [########################] 4/4")
    assert stream.getvalue().endswith("\n")
    assert "\x1b" not in stream.getvalue()


def test_the_bar_draws_nothing_without_a_terminal(monkeypatch):
    stream = io.StringIO()
    bar = ProgressBar(2, "train", stream=stream)
    bar.update(2)
    bar.close()
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    ProgressBar(2, "train", stream=terminal).update(2)
    assert stream.getvalue() == terminal.getvalue() == ""
