"""What every program says when it is asked for help, or given a field that is not there."""

import os
import signal
import subprocess
import sys
import time

import pytest
from flax import traverse_util

from autolabel_jax import processes
from configs import base
from experiments import config_help, launch
from tests import helpers

FIELDS = traverse_util.flatten_dict(base.base().to_dict(), sep=".")


def test_every_field_has_a_comment():
    comments = config_help.describe(base.base())
    assert set(comments) == set(FIELDS)
    assert [field for field, comment in comments.items() if not comment] == []


def test_help_lists_flags_and_fields():
    done = helpers.command("-m", "experiments.train", "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Trains one configuration")
    listed = {line.split()[0]: line.split()[1] for line in lines if "--config." in line[:12]}
    assert set(listed) == {f"--config.{field}" for field in FIELDS}
    assert listed["--config.labels.alpha"] == "1.0"
    assert any(line.strip().startswith("--workdir: ") for line in lines)


def test_help_shows_the_values_of_the_config_that_is_given():
    config = "--config=configs/digits_augmix.py"
    done = helpers.command("-m", "experiments.sweep", config, "--help")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "--config.labels.alpha " in line]
    assert line.split()[1] == "0.1"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.labels.alfa=1", "--config.labels.alfa: the config has no such field; "),
        ("--config.epoch=1", "the nearest is --config.epochs"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_the_nearest(flag, message, tmp_path):
    config = "--config=configs/digits_augmix.py"
    done = helpers.command("-m", "experiments.train", config, f"--workdir={tmp_path}", flag)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("program", "unused"),
    [
        ("train", ("autolabel_jax.attacks", "autolabel_jax.corruptions")),
        pytest.param("evaluate", (), marks=pytest.mark.slow),
        pytest.param("sweep", (), marks=pytest.mark.slow),
    ],
)
def test_a_program_starts_without_slow_imports_and_takes_no_device(program, unused):
    """They are imported where they are used, see ``benchmarks.start --imports``."""
    slow = ("sklearn", "tensorflow_datasets", "scipy.stats", "tensorboardX", "matplotlib", "grain")
    code = f"import sys, experiments.{program}, jax._src.xla_bridge as x\n"
    code += f"print([m for m in {slow + unused} if m in sys.modules], x.backends_are_initialized())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


def pipe_without_reader(monkeypatch):
    """Makes standard output a pipe whose other end is closed; returns its descriptor."""
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", os.fdopen(write, "w"))


@pytest.mark.parametrize("size", [10, 100_000])  # flushed at the end, or written through at once
def test_output_that_nobody_reads_ends_the_program_in_silence(monkeypatch, capsys, size):
    pipe_without_reader(monkeypatch)
    with pytest.raises(SystemExit) as end, launch.ending_with_reader():
        print("x" * size)
    sys.stdout.close()  # as Python does at its end: nothing is left to fail
    assert end.value.code == 128 + signal.SIGPIPE
    assert capsys.readouterr().err == ""


def test_another_broken_pipe_is_an_error(monkeypatch):
    def fail():
        with launch.ending_with_reader():
            raise BrokenPipeError("of a socket")

    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        with pytest.raises(BrokenPipeError, match="of a socket"):
            fail()


@pytest.mark.parametrize("module", ["train", pytest.param("tables", marks=pytest.mark.slow)])
def test_a_reader_that_leaves_early_sees_no_traceback(module):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", f"experiments.{module}"]
    command += ["--help"] if module == "train" else ["results/digits_warmup.jsonl"]
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_signal_or_a_deadline_is_a_reason_to_stop():
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    stop = processes.Stop()
    stop.install()
    try:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.signal == signal.SIGTERM
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert processes.Stop(time.time() - 1)() and not processes.Stop(time.time() + 60)()
