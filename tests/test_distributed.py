"""Two real processes over loopback: the same run as one, and what is left when one of them dies."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys

import helpers
import numpy as np
import photograph_folders
import pytest
from absl import flags
from absl.testing import flagsaver

from autolabel_jax import files, train
from autolabel_jax.run_dir import RunDir
from experiments import distributed, launch

# Three epochs of two steps; a checkpoint after each.
LONG = {"epochs": 3, "augment__name": "mixup", "optimizer__ema": 0.9}

# The command with a trap, PROCESS:SIGNAL:COUNT: after COUNT steps a process gets a signal.
TRAP = """
import os, signal, sys
from absl import app
from autolabel_jax import progress
from experiments import launch
from experiments import train as program
victim, number, count = sys.argv.pop(1).split(":")
plain, left = progress.Progress.train_step, int(count)
def train_step(*arguments):
    global left
    left -= 1
    if left == 0 and f"--process_id={victim}" in sys.argv:
        os.kill(os.getppid(), int(number))  # the process that was started
    return plain(*arguments)
progress.Progress.train_step = train_step
launch.run(program.main, required=["config", "workdir"], several_processes=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    """Compiled quickly rather than well: a process that is not the first finds no cache."""
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    plain = helpers.environment(devices)
    return plain | {"XLA_FLAGS": f"{plain['XLA_FLAGS']} {quick}"}


def one(*arguments) -> None:
    """One process on two virtual devices."""
    command = [sys.executable, *map(str, arguments)]
    settings = {"cwd": helpers.ROOT, "env": environment(2), "capture_output": True, "text": True}
    done = subprocess.run(command, **settings, timeout=240)
    assert done.returncode == 0, done.stderr


def two(*arguments, devices: int = 1) -> list[subprocess.CompletedProcess]:
    """The same command in two processes; what each came to."""
    where = [f"--coordinator_address=localhost:{free_port()}", "--num_processes=2"]
    begun = [
        subprocess.Popen(
            [sys.executable, *map(str, arguments), *where, f"--process_id={i}"],
            cwd=helpers.ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    completed = []
    for process in begun:
        try:
            output = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            for other in begun:
                other.kill()
            raise
        completed.append(subprocess.CompletedProcess(process.args, process.returncode, *output))
    return completed


def train_two(workdir, **changes) -> list[subprocess.CompletedProcess]:
    completed = two("-m", "experiments.train", *helpers.flags(**changes), f"--workdir={workdir}")
    assert [done.returncode for done in completed] == [0, 0], (
        completed[0].stderr + completed[1].stderr
    )
    return completed


def train_one(workdir, **changes) -> None:
    arguments = [*helpers.flags(**changes), f"--workdir={workdir}"]
    one("-m", "experiments.train", *arguments)


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
    """The metrics of all epochs and the figures at the end, up to the order of sums."""
    lines = [helpers.read_metrics(workdir) for workdir in (one, other)]
    assert len(lines[0]) == len(lines[1]) > 0
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)
    results = [files.read_json(workdir / "result.json") for workdir in (one, other)]
    for name in ("accuracy", "nll", "ece", "brier", "nll_ts", "test_examples"):
        assert results[0][name] == pytest.approx(results[1][name], abs=1e-5), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(workdir, what the two processes said)."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, train_two(workdir, **LONG)


# --- the same run ----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path, undisturbed):
    workdir, _ = undisturbed
    train.train(helpers.small_config(**LONG), tmp_path, progress=False)
    assert_same_run(workdir, tmp_path)
    both, alone = (helpers.last_checkpoint(folder) for folder in (workdir, tmp_path))
    assert both.keys() == alone.keys()
    for name in alone:
        np.testing.assert_allclose(both[name], alone[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_stop_early_and_keep_one_epoch(tmp_path):
    """A learning rate so high that the held-out loss goes up and down, see test_best.py."""
    rough = {"optimizer__learning_rate": 0.03, "optimizer__schedule": "step", "model__width": 32}
    early = {"epochs": 12, "seed": 2, "checkpoint__best": True, "checkpoint__patience": 2}
    first, second = train_two(tmp_path / "two", **rough, **early)
    expected = train.train(helpers.small_config(**rough, **early), tmp_path / "one", progress=False)
    found = files.read_json(tmp_path / "two/result.json")
    for name in ("epochs", "kept_epoch"):
        assert found[name] == expected[name] < 12
    assert found["nll"] == pytest.approx(expected["nll"], abs=1e-4)
    assert f"kept epoch {found['kept_epoch']} of {found['epochs']}" in first.stderr
    assert "kept epoch" not in second.stderr


@pytest.mark.slow
def test_only_the_first_process_prints_and_writes(undisturbed):
    workdir, (first, second) = undisturbed
    assert f"results are in {workdir}" in first.stdout
    assert "step" in first.stderr
    assert "everything" not in second.stdout
    assert "%|" not in second.stderr
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    assert [line["epoch"] for line in RunDir(workdir).read_metrics()] == [0, 1, 2]


@pytest.mark.slow
def test_a_finished_run_is_evaluated_by_two_processes(undisturbed):
    """The 15 corruptions aside, which go the way of the clean images."""
    workdir, _ = undisturbed
    before = files.read_json(workdir / "result.json")
    arguments = ("-m", "experiments.evaluate", f"--workdir={workdir}", "--attacks=fgsm")
    logits = np.load(workdir / "test_logits.npz")["logits"]
    completed = two(*arguments, "--examples=31")  # which two processes do not divide
    assert [done.returncode for done in completed] == [0, 0], (
        completed[0].stderr + completed[1].stderr
    )
    assert "FGSM" in completed[0].stdout and completed[1].stdout.count("FGSM") == 0
    np.testing.assert_array_equal(np.load(workdir / "test_logits.npz")["logits"], logits)
    after = files.read_json(workdir / "result.json")
    assert {k: after[k] for k in before} == before
    lines = files.read_json_lines(workdir / "evaluation.jsonl")
    assert [(line["piece"], line["attacked"]) for line in lines] == [("fgsm/0", 31)]
    # One process, from the same checkpoint.
    (workdir / "evaluation.jsonl").unlink()
    one(*arguments, "--examples=31")
    (alone,) = files.read_json_lines(workdir / "evaluation.jsonl")
    assert alone.keys() == lines[0].keys()
    assert (alone["correct"], alone["after"]) == (lines[0]["correct"], lines[0]["after"])
    assert alone["nll_sum"] == pytest.approx(lines[0]["nll_sum"], rel=1e-5)
    assert alone["bins"]["count"] == lines[0]["bins"]["count"]


@pytest.mark.slow
def test_photographs_from_disk_are_shared_out(tmp_path):
    """Each process decodes the rows of its own devices."""
    changes = {
        **{"dataset": "folder", "image_size": 12, "train_examples": 0, "test_examples": 0},
        **{"calibration__fraction": 0.25, "batch_size": 8, "eval_batch_size": 8, "flip": True},
        **{"augment__name": "mixup", "data_dir": photograph_folders.write(tmp_path / "photos")},
    }
    train_two(tmp_path / "two", **changes)
    train_one(tmp_path / "one", **changes)
    assert_same_run(tmp_path / "two", tmp_path / "one")


# Batch statistics of a known batch; what processes tell each other. Every process prints a line.
PARTS = """
import dataclasses, json, sys
import flax.linen as nn
import jax, numpy as np
address, _, i = (argument.partition("=")[2] for argument in sys.argv[1:])
jax.distributed.initialize(address, 2, int(i))
import helpers
from autolabel_jax import input_pipeline, processes, experiment as experiment_lib, train_step

class Normed(nn.Module):
    @nn.compact
    def __call__(self, image, train):
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.75)
        return nn.Dense(4)(norm(image.reshape(len(image), -1)))

dataset = helpers.make_dataset(shape=(2, 2, 3), train=16)
experiment = dataclasses.replace(helpers.make_experiment(dataset), model=Normed())
whole = input_pipeline.put_split(dataset.train, experiment.mesh)
state = processes.replicate(experiment_lib.init_state(experiment, 0, (2, 2, 3)), experiment.mesh)
step = jax.jit(lambda *a: train_step.train_steps(*a, num_steps=1, experiment=experiment)[0])
order = np.arange(16, dtype=np.int32)
stats = step(state, whole, order, jax.random.key(0), np.int32(0)).batch_stats["BatchNorm_0"]

calls = iter(range(9))
agreed = processes.agreed(lambda: i == "1" and next(calls) == 2, experiment.mesh)
answers = [agreed() for _ in range(5)]

def refuse():
    raise ValueError("the first says no")
try:
    processes.on_first(refuse)
    error = ""
except ValueError as caught:
    error = str(caught)
print(json.dumps({
    "devices": jax.device_count(),
    "mean": np.asarray(stats["mean"]).tolist(),
    "var": np.asarray(stats["var"]).tolist(),
    "answers": answers,
    "error": error,
    "told": processes.on_first(lambda: {"process": i, "nan": float("nan")})["process"],
    "gathered": processes.gather(np.full((int(i), 2), 7 + int(i)), 1).tolist(),
}))
"""


def test_batch_statistics_are_global_and_processes_agree():
    code = f"import sys; sys.path.insert(0, {str(helpers.ROOT / 'tests')!r})\n{PARTS}"
    done = two("-c", code, devices=2)
    assert [d.returncode for d in done] == [0, 0], done[0].stderr + done[1].stderr
    answers = [json.loads(d.stdout.splitlines()[-1]) for d in done]
    images = helpers.make_dataset(shape=(2, 2, 3), train=16).train.input.reshape(16, -1) / 255
    for answer in answers:
        assert answer["devices"] == 4
        np.testing.assert_allclose(answer["mean"], 0.25 * images.mean(0), atol=1e-6)
        np.testing.assert_allclose(answer["var"], 0.75 + 0.25 * images.var(0), atol=1e-6)
        assert answer["answers"] == [False, False, False, True, False]
        assert answer["error"] == "the first says no"
        assert answer["told"] == "0"
        assert answer["gathered"] == [[8, 8]]


# --- one of them stops or dies ---------------------------------------------------------------


@pytest.mark.slow
def test_one_is_killed_the_other_says_so_and_the_run_goes_on(tmp_path, undisturbed):
    command = (*helpers.flags(**LONG), f"--workdir={tmp_path}")
    killed, left = two("-c", TRAP, f"0:{int(signal.SIGKILL)}:5", *command)  # in the third epoch
    assert killed.returncode == -signal.SIGKILL
    assert left.returncode == 1, left.stderr
    last = left.stderr.strip().splitlines()[-1]
    assert last.startswith("error: another process of this run is gone")
    saved = re.search("same command on all hosts to resume from (.*)$", last).group(1)
    steps = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert saved == str(tmp_path / "checkpoints" / str(max(steps)))
    assert not (tmp_path / "result.json").exists()
    train_two(tmp_path, **LONG)
    workdir, _ = undisturbed
    helpers.assert_same_bits(helpers.last_checkpoint(workdir), helpers.last_checkpoint(tmp_path))
    assert helpers.read_metrics(workdir) == helpers.read_metrics(tmp_path)


@pytest.mark.slow
def test_all_stop_at_one_step_when_one_is_told_to(tmp_path, undisturbed):
    """And one process with two devices resumes from there, with the same result."""
    command = (*helpers.flags(**LONG), f"--workdir={tmp_path}")
    done = two("-c", TRAP, f"1:{int(signal.SIGTERM)}:3", *command)
    assert [d.returncode for d in done] == [143, 143], done[0].stderr + done[1].stderr
    messages = [re.search("^stopped in epoch .*$", d.stderr, re.MULTILINE).group() for d in done]
    assert messages[0] == messages[1]
    assert f"saved {tmp_path / 'checkpoints'}" in messages[0]
    train_one(tmp_path, **LONG)
    assert_same_run(tmp_path, undisturbed[0])


# --- flags -----------------------------------------------------------------------------------


@pytest.fixture
def parsed():
    """As if the command line had been read, with no flag given."""
    with flagsaver.flagsaver():
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        yield


@pytest.mark.usefixtures("parsed")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 2}, "--num_processes: needs --coordinator_address, --process_id too"),
        (
            {"coordinator_address": "a:1", "num_processes": 2, "process_id": 2},
            "--process_id: got 2 of 2 processes",
        ),
        ({"distributed": True}, "this program runs in one process"),
    ],
)
def test_flags_that_cannot_be(given, message):
    with flagsaver.flagsaver(**given), pytest.raises(ValueError, match=message):
        launch.join(several_processes=False)


@pytest.mark.usefixtures("parsed")
def test_without_flags_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(distributed, "start", None)
    monkeypatch.setattr(distributed, "supervise", None)
    launch.join(several_processes=True)
