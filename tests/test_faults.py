"""Killed, cut off, damaged, on a full disk: a command ends as undisturbed, or names the file."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from unittest import mock

import faults
import helpers
import numpy as np
import pytest
from pyarrow import parquet

from autolabel_jax import corruptions, files, train
from autolabel_jax.run_dir import RunDir
from experiments import packing

SEED = 2611
SETTINGS = {"epochs": 3, "augment__name": "mixup", "crop_pad": 2, "flip": True}
ATTACK = ("--attacks=fgsm", "--examples=20")
DOCUMENT = """# A document of somebody

<!-- tables {runs} columns="accuracy ece" -->
<!-- end of tables -->

The last line.
"""


@dataclasses.dataclass(frozen=True)
class Program:
    """A command whose files are all below one folder."""

    arguments: Callable[[pathlib.Path], list]
    begins: str  # name of the folder of ``stages`` that it begins with


PROGRAMS = {
    "train": Program(
        lambda folder: ["experiments.train", *helpers.flags(**SETTINGS), f"--workdir={folder}/run"],
        "empty",
    ),
    "evaluate": Program(
        lambda folder: [
            *("experiments.evaluate", f"--workdir={folder}/run", "--corruptions", *ATTACK)
        ],
        "trained",
    ),
    "sweep": Program(
        lambda folder: [
            *("experiments.sweep", *helpers.flags(**SETTINGS | {"epochs": 1}), *ATTACK),
            *(f"--workdir={folder}/sweep", "--axes=seed=0,1"),
        ],
        "empty",
    ),
    "pack": Program(
        lambda folder: [
            *("experiments.results", "pack", f"{folder}/runs", f"--out={folder}/results/all.jsonl")
        ],
        "packed",
    ),
    "tables": Program(
        lambda folder: ["experiments.tables", f"--update={folder}/README.md"],
        "documented",
    ),
    "report": Program(
        lambda folder: ["experiments.report", f"{folder}/runs", f"--out={folder}/report.html"],
        "documented",
    ),
}


def run(name: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs the command in this process; of the corruptions it evaluates two."""
    with mock.patch.object(corruptions, "CORRUPTIONS", faults.CORRUPTIONS):
        return helpers.command("-m", *PROGRAMS[name].arguments(folder))


def copy(folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Copies a folder; the paths of runs in its documents are those of the copy."""
    shutil.copytree(folder, target, symlinks=True)
    for path in target.glob("*.md"):
        path.write_text(re.sub(r"\S*/runs", f"{target}/runs", path.read_text()))
    return target


# --- what must be equal ------------------------------------------------------------------------


SKIPPED = ("tensorboard", "checkpoints")
UNEQUAL = (*helpers.TIMES, "revision")  # somebody may commit while the tests run


def content(folder: pathlib.Path, unread=()) -> dict:
    """What the files below a folder hold, without times, logs and copies of damaged files.

    Files and folders named in ``unread`` are left out.
    """
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = path.relative_to(folder)
        skipped = (*SKIPPED, *unread)
        hidden = any(part.startswith(".") or part in skipped for part in inside.parts)
        if not hidden and "damaged" not in path.name:
            found[str(inside)] = READERS[path.suffix](path)
    return found


def read_document(path):
    return path.read_text().replace(str(path.parent), "")


def read_arrays(path):
    with np.load(path) as saved:
        return {name: (saved[name].dtype.str, saved[name].tobytes()) for name in saved}


def read_lines(path):
    """Each line once, because a set may have been evaluated twice."""
    lines = map(without_times, files.read_json_lines(path, strict=True))
    return list(dict.fromkeys(map(json.dumps, lines)))


def without_times(value):
    return {name: v for name, v in value.items() if name not in UNEQUAL}


READERS = {
    ".jsonl": read_lines,
    ".json": lambda path: without_times(files.read_json(path)),
    ".npz": read_arrays,
    ".parquet": lambda path: parquet.read_table(path).to_pylist(),
    ".md": read_document,
    ".html": read_document,
}


def assert_undisturbed(folder: pathlib.Path, expected: pathlib.Path) -> None:
    """All files hold the same, and the last checkpoints of all runs, to the bit."""
    found, wanted = content(folder), content(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == wanted[name], name
    for checkpoints in expected.rglob("checkpoints"):
        workdir = checkpoints.parent.relative_to(expected)
        pair = (helpers.last_checkpoint(root / workdir) for root in (folder, expected))
        helpers.assert_same_bits(*pair)


def assert_refused(done: subprocess.CompletedProcess, folder: pathlib.Path) -> None:
    """One line names a file of the folder."""
    said = (done.stderr + done.stdout).strip().splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 1
    errors = [line for line in said if line.startswith(("error: ", "failed: "))]
    assert errors and all(str(folder) in line for line in errors), said


# --- folders before and after ------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Folders from which commands begin."""
    root = tmp_path_factory.mktemp("stages")
    for name, seed in (("a", 0), ("b", 1)):
        config = helpers.small_config(**SETTINGS, seed=seed)
        train.train(config, root / "documented" / "runs" / name, progress=False)
    runs = root / "documented" / "runs"
    shutil.copytree(runs / "a", root / "trained" / "run")
    shutil.copytree(runs, root / "packed" / "runs")
    packing.pack([runs / "a"], root / "packed" / "results" / "all.jsonl")
    (root / "documented" / "README.md").write_text(DOCUMENT.format(runs=runs))
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def undisturbed(stages, tmp_path_factory):
    """Function of a command: its folder after it, and copies from before each of its writes."""
    rng, made = np.random.default_rng(SEED), {}

    def make(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            folder = copy(stages / PROGRAMS[name].begins, root / "after")
            with faults.photographed(folder, root / "copies", rng) as copies:
                done = run(name, folder)
            assert done.returncode == 0, done.stderr
            made[name] = folder, copies
        return made[name]

    return make


def lanes(short: dict[str, int], long: dict[str, int]) -> list:
    """Parameters: each command with the number of its moments."""
    slow = [pytest.param(name, n, marks=pytest.mark.slow) for name, n in long.items()]
    return [*short.items(), *slow]


# --- the faults --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "moments"),
    lanes(
        {"train": 1, "pack": 1, "tables": 1},
        {"train": 24, "evaluate": 14, "sweep": 14, "pack": 6, "tables": 4, "report": 2},
    ),
)
def test_killed_before_any_write_and_run_again(tmp_path, undisturbed, name, moments):
    after, copies = undisturbed(name)
    chosen = np.random.default_rng(SEED).choice(len(copies), min(moments, len(copies)), False)
    for n in chosen:
        folder = copy(copies[n], tmp_path / str(n))
        done = run(name, folder)
        assert done.returncode == 0, (n, done.stderr)
        assert_undisturbed(folder, after)
        assert not [p for p in folder.rglob(".*.[0-9]*") if p.is_file()], n


@pytest.mark.parametrize(
    ("name", "moments"),
    lanes(
        {"train": 1}, {"train": 6, "evaluate": 4, "sweep": 4, "pack": 2, "tables": 2, "report": 1}
    ),
)
def test_a_full_disk_ends_in_one_line_and_loses_nothing(
    tmp_path, stages, undisturbed, name, moments
):
    after, copies = undisturbed(name)
    before = stages / PROGRAMS[name].begins
    for n in np.random.default_rng(SEED).choice(len(copies), min(moments, len(copies)), False):
        folder = copy(before, tmp_path / str(n))
        with faults.full_disk(folder, n) as failed:
            done = run(name, folder)
        assert (done.returncode == 0) == (not failed)  # what is left may be to remove files
        if failed:
            assert_refused(done, folder)
        for path in folder.glob("*.md") if failed else ():
            assert read_document(path) == read_document(before / path.name)
        done = run(name, folder)
        assert done.returncode == 0, (n, done.stderr)
        assert_undisturbed(folder, after)


def damage(path: pathlib.Path, how: str, rng) -> None:
    {"cut": faults.cut, "flip": faults.flip, "halve": faults.halve}[how](path, rng)


@pytest.mark.parametrize("moments", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_damaged_files_of_a_finished_run_are_named(tmp_path, undisturbed, moments):
    """Training does not read the files of an evaluation, nor evaluating those lines of epochs."""
    after, _ = undisturbed("evaluate")
    rng = np.random.default_rng(SEED)
    for n in range(moments):
        folder = copy(after, tmp_path / str(n))
        path, how = draw(folder / "run", rng)
        damage(path, how, rng)
        name = ("train", "evaluate")[n % 2]
        done = run(name, folder)
        if done.returncode:
            assert_refused(done, folder)
            continue
        unread = {
            "train": ("evaluation.jsonl", "evaluation", "test_logits.npz"),
            "evaluate": ("metrics.jsonl",),  # the checkpoint has its lines too
        }[name]
        found, wanted = (content(root, unread) for root in (folder, after))
        assert found == wanted, (name, how, path, done.stderr)


def draw(workdir: pathlib.Path, rng) -> tuple[pathlib.Path, str]:
    """A random file, each kind as likely as the others, and a fault."""
    kinds = {}
    for path in sorted(p for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"):
        kinds.setdefault(path.relative_to(workdir).parts[0], []).append(path)
    of_kind = kinds[str(rng.choice(sorted(kinds)))]
    return of_kind[rng.integers(len(of_kind))], str(rng.choice(["cut", "flip"]))


@pytest.mark.parametrize("moments", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_a_damaged_unfinished_run_ends_with_the_same_bits_or_is_named(
    tmp_path, undisturbed, moments
):
    after, copies = undisturbed("train")
    rng = np.random.default_rng(SEED)
    begun = [path for path in copies if len(list(path.glob("run/checkpoints/[0-9]*"))) > 1]
    for n in range(moments):
        folder = copy(begun[rng.integers(len(begun))], tmp_path / str(n))
        path, how = draw(folder / "run", rng)
        if n % 4 == 0:
            steps = [p for p in (folder / "run" / "checkpoints").iterdir() if p.name.isdigit()]
            path, how = max(steps, key=lambda p: int(p.name)), "halve"
        damage(path, how, rng)
        done = run("train", folder)
        if done.returncode:
            assert_refused(done, folder)
        else:
            assert_undisturbed(folder, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kills"),
    [("train", 12), ("evaluate", 5), ("sweep", 5), ("pack", 1), ("tables", 1), ("report", 1)],
)
def test_processes_killed_again_and_again(tmp_path, stages, undisturbed, name, kills):
    """Each goes on where the one before it was killed."""
    after, _ = undisturbed(name)
    rng, log = np.random.default_rng(SEED), tmp_path / "log"
    cache = f"--compilation_cache_dir={tmp_path / 'cache'}"
    whole = copy(stages / PROGRAMS[name].begins, tmp_path / "whole")
    began = time.monotonic()
    process = faults.start([*PROGRAMS[name].arguments(whole), cache], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    seconds = time.monotonic() - began
    folder = copy(stages / PROGRAMS[name].begins, tmp_path / "killed")
    for _ in range(kills):
        faults.killed([*PROGRAMS[name].arguments(folder), cache], rng.uniform(0, seconds), log)
        assert "Traceback" not in log.read_text(), log.read_text()
    done = run(name, folder)
    assert done.returncode == 0, done.stderr
    assert_undisturbed(folder, after)


# --- faults that are always the same -----------------------------------------------------------


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


WRONG = {
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_text("[1]"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "folder": as_folder,
    "pipe": as_pipe,
}


@pytest.mark.parametrize("file", ["config.json", "result.json", "dataset.json"])
def test_files_of_a_wrong_kind_are_named(tmp_path, stages, file):
    """By training, and by what reads many runs, which goes on with the others."""
    runs = copy(stages / "documented", tmp_path / "a") / "runs"
    for how, change in WRONG.items():
        workdir = copy(runs / "a", runs / how)
        change(workdir / file)
        what = f"^{workdir / file}: .*; delete it and run the training command again"
        with pytest.raises(ValueError, match=what):
            train.train(helpers.small_config(**SETTINGS, seed=0), workdir, progress=False)
    done = helpers.command("-m", "experiments.tables", runs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"its {file} ") == (len(WRONG) if file != "dataset.json" else 0)


def test_an_entry_that_stands_twice_is_named(tmp_path, stages):
    workdir = copy(stages / "documented", tmp_path / "a") / "runs" / "a"
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 0, "seed": 1'))
    with pytest.raises(ValueError, match=f"^{path}: holds the entry 'seed' twice; delete it"):
        train.train(helpers.small_config(**SETTINGS, seed=0), workdir, progress=False)


def test_changed_metrics_are_in_no_table(tmp_path, stages):
    folder = copy(stages / "documented", tmp_path / "a") / "runs"
    path = folder / "a" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"train_loss": ', '"train_loss": 1', 1))
    done = helpers.command("-m", "experiments.tables", folder)
    assert "epochs 1 of its metrics.jsonl differ from those in its last checkpoint" in " ".join(
        done.stdout.split()
    )
    train.train(helpers.small_config(**SETTINGS, seed=0), folder / "a", progress=False)
    assert content(folder) == content(stages / "documented" / "runs")


def test_a_finished_run_is_not_evaluated_at_an_older_state(tmp_path, stages):
    folder = copy(stages / "trained", tmp_path / "a")
    newest = RunDir(folder / "run").last_checkpoint()
    (newest / "checksums.json").write_text("{")
    done = helpers.command("-m", "experiments.evaluate", f"--workdir={folder}/run")
    assert_refused(done, folder)
    assert "the last checkpoint of this finished run is damaged; delete its result" in done.stderr
    (folder / "run" / "result.json").unlink()
    train.train(helpers.small_config(**SETTINGS, seed=0), folder / "run", progress=False)
    assert_undisturbed(folder, stages / "trained")


SLOW = [pytest.param(size, marks=pytest.mark.slow) for size in (64, 160)]


@pytest.fixture(params=[320, *SLOW])
def small_disk(tmp_path, request):
    """A file system of so many KiB, and a function that enlarges it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", folder]
        return subprocess.run(command, capture_output=True, text=True)

    done = mount("-o", f"size={request.param}k")
    if done.returncode:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    yield folder, lambda: mount("-o", "remount,size=64m")
    subprocess.run(["umount", "--lazy", folder], check=True)  # some thread may have files open


def test_a_small_disk(small_disk, undisturbed):
    """Where the operating system says that it is full, also to TensorStore, which is C++."""
    folder, enlarge = small_disk
    done = run("train", folder)
    assert_refused(done, folder)
    enlarge()
    done = run("train", folder)
    assert done.returncode == 0, done.stderr
    assert_undisturbed(folder, undisturbed("train")[0])


@pytest.mark.parametrize(
    ("file", "how", "told"),
    [
        ("all.jsonl", lambda b: b"<<<<<<< HEAD\n" + b, "all.jsonl:1: expected a file of exp"),
        ("all.jsonl", lambda b: b.replace(b'"accuracy": 0', b'"accuracy": 1', 1), "its checksum"),
        ("all.jsonl", lambda b: b + b, "all.jsonl:2: .* twice"),
        ("curves.parquet", lambda b: b[: len(b) // 2], "curves.parquet: cannot be read as Parquet"),
        ("curves.parquet", lambda b: b"", "curves.parquet: cannot be read as Parquet"),
    ],
)
def test_damaged_studies_are_named(tmp_path, stages, file, how, told):
    folder = copy(stages / "packed", tmp_path / "a")
    path = folder / "results" / file
    path.write_bytes(how(path.read_bytes()))
    before = path.read_bytes()
    for arguments in (
        ["experiments.tables", folder / "results" / "all.jsonl"],
        PROGRAMS["pack"].arguments(folder),
    ):
        done = helpers.command("-m", *arguments)
        assert_refused(done, folder)
        assert re.search(told, done.stderr)
    assert path.read_bytes() == before


def test_every_test_that_the_documentation_names_exists():
    text = (helpers.ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) >= len(rows) - 6  # three tables with two lines of head each
    for file, test in named:
        source = (helpers.ROOT / "tests" / file).read_text()
        assert f"def {test}(" in source, f"{file}::{test}"
