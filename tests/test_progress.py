"""A bar on a terminal, and lines of plain text elsewhere."""

import io
import re
import sys

import pytest
from tqdm import tqdm

from autolabel_jax import progress
from autolabel_jax.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class AtOnce(tqdm):
    """Draws every step, not ten a second."""

    def __init__(self, **settings):
        super().__init__(**settings, mininterval=0)


def run(epochs=2):
    """Two steps of training and three of calibration in each epoch."""
    with Progress("digits: 10 images", total=5 * epochs) as display:
        for epoch in range(epochs):
            display.begin(f"epoch {epoch + 1}/{epochs}")
            for _ in range(2):
                display.compiling()
                display.train_step(1, "loss 0.5")
            for _ in range(3):
                display.advance()
            display.end_epoch(f"loss 0.{epoch}")


def test_a_log_gets_a_line_an_epoch(capsys):
    run()
    first, compiling, compiled, *epochs = capsys.readouterr().err.splitlines()
    assert first == "digits: 10 images"
    assert compiling == "compiling ..."
    assert re.fullmatch(r"compiled in \d+\.\d s", compiled)
    assert [re.sub(r"\d\d:\d\d", "TIME", line) for line in epochs] == [
        "epoch 1/2, loss 0.0, TIME elapsed",
        "epoch 2/2, loss 0.1, TIME elapsed",
    ]


def test_a_long_epoch_gets_a_line_every_interval(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    with Progress("", total=100) as display:
        display.begin("epoch 1/1")
        for step in range(12):
            display.train_step(1, f"loss {step}")
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    # Each step reads the clock once, and each line once more.
    assert [re.search("loss [0-9]+", line)[0] for line in lines] == ["loss 3", "loss 7", "loss 11"]


def test_a_long_loop_gets_a_line_every_interval_and_a_short_one_none(capsys, monkeypatch):
    assert list(progress.each(iter("abc"), "checking images", 3, "image")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    assert list(progress.each(range(9), "checking images", 9, "image")) == [*range(9)]
    # As above, each item reads the clock once, and each line once more.
    assert capsys.readouterr().err.splitlines() == [
        "checking images, 4 of 9, 00:50 elapsed",
        "checking images, 8 of 9, 01:40 elapsed",
    ]


def test_a_terminal_gets_a_bar_that_moves_in_calibration(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress, "tqdm", AtOnce)
    run()
    text = terminal.getvalue()
    places = [int(n) for n in re.findall(r"(\d+)/10 \[", text)]
    assert places == sorted(places) and set(places) == set(range(11))
    assert text.startswith("digits: 10 images\n")
    for shown in ("compiling ...", "epoch 1/2", "epoch 2/2", "loss 0.1"):
        assert shown in text
    assert "elapsed" not in text


def test_nothing_is_shown_if_not_asked_for(capsys):
    with Progress("digits", total=1, shown=False) as display:
        display.begin("epoch 1/1")
        display.compiling()
        display.train_step(1, "loss")
        display.end_epoch("loss")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_closed_output_does_not_stop_the_run(monkeypatch, error):
    class Closed(io.StringIO):
        def write(self, text):
            raise error("nobody reads")

    monkeypatch.setattr(sys, "stderr", Closed())
    run()
