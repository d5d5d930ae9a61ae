"""A trained state on corrupted and on attacked test images, set by set.

Every set that is done is a line of ``evaluation.jsonl``, so a long evaluation
that was stopped goes on where it was. Beside it, ``evaluation/`` keeps what the
figures of each corrupted set are in bootstrap resamples of its images.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from autolabel_jax import attacks, corruptions, metric_writer, processes
from autolabel_jax.evaluated_sets import ATTACK_CHUNK, Piece, Sets
from autolabel_jax.metrics import HEADLINE, bootstrap, pairs
from autolabel_jax.types import BucketStats

FILE, FOLDER = "evaluation.jsonl", "evaluation"
FORMAT = 2  # of a line; lines of another one do not count
PREFIX = {"corruption": "corrupted", "extra": "extra_corrupted"}  # of the figures' names
BY_SEVERITY = ("accuracy", "ece", "ece_ts", "accuracy_vs", "ece_vs")


def plan(
    *, corrupted: bool, extra: bool = False, attack_names: Sequence[str], num_examples: int
) -> list[Piece]:
    """The pieces of an evaluation: corruptions × 5 severities, and the attacks in chunks.

    Args:
      corrupted: the 15 corruptions.
      extra: the four others.
      attack_names: names of ``attacks.TABLE``.
      num_examples: images to attack.

    Raises:
      ValueError: unknown attack.
    """
    unknown = [name for name in attack_names if name not in attacks.TABLE]
    if unknown:
        known = ", ".join(attacks.TABLE)
        raise ValueError(f"--attacks: got {', '.join(unknown)}, known are {known}")
    asked = {"corruption": corruptions.CORRUPTIONS if corrupted else ()}
    asked["extra"] = corruptions.EXTRA if extra else ()
    pieces = [
        Piece(kind, name, severity)
        for kind, names in asked.items()
        for name in names
        for severity in corruptions.SEVERITIES
    ]
    for name in attack_names:
        pieces += [Piece("attack", name, first) for first in range(0, num_examples, ATTACK_CHUNK)]
    return pieces


def run(
    pieces: Iterable[Piece],
    sets: Sets,
    workdir: pathlib.Path,
    checkpoint: int,
) -> list[dict[str, Any]]:
    """Evaluates what is not in the file yet; returns the lines of all pieces.

    Args:
      pieces: from ``plan``.
      sets: makes and measures them.
      workdir: holds ``evaluation.jsonl``.
      checkpoint: optimiser updates of the trained state; lines of another one, of another
        number of images or of other data do not count.
    """
    path, pieces = workdir / FILE, list(pieces)
    kinds = {piece.kind for piece in pieces}
    stamps = {k: {"format": FORMAT, "checkpoint": checkpoint, **sets.stamp(k)} for k in kinds}
    done = processes.on_first(lambda: _done(path, stamps, workdir))

    def finish(piece, fetch):
        figures, resampled = fetch()
        line = {**stamps[piece.kind], **dataclasses.asdict(piece), "piece": str(piece), **figures}
        if processes.is_first():
            _write(path, piece, line, resampled)
        done[str(piece)] = line

    begun = None  # one set is on the device while the one before is read
    silent = not processes.is_first()
    for piece in (bar := tqdm(pieces, unit="set", dynamic_ncols=True, disable=silent)):
        bar.set_postfix_str(str(piece))
        if str(piece) in done:
            continue
        next_one = (piece, sets.start(piece))
        if begun:
            finish(*begun)
        begun = next_one
    if begun:
        finish(*begun)
    return [done[str(piece)] for piece in pieces]


def _resamples_path(workdir: pathlib.Path, piece: str) -> pathlib.Path:
    return workdir / FOLDER / f"{piece.replace('/', '_')}.npz"


def _done(path, stamps, workdir):
    """Lines that count, by their pieces."""
    before = metric_writer.read_json_lines(path)
    metric_writer.rewrite_json_lines(path, before)  # without a line cut off by a kill
    return {line["piece"]: line for line in before if _counts(line, stamps, workdir)}


def _write(path, piece, line, resampled):
    if resampled:
        beside = _resamples_path(path.parent, str(piece))
        beside.parent.mkdir(exist_ok=True)
        np.savez(beside, **resampled)
    metric_writer.append_json_line(path, line)


def _counts(line, stamps, workdir):
    if line["kind"] not in stamps or not stamps[line["kind"]].items() <= line.items():
        return False
    return line["kind"] == "attack" or _resamples_path(workdir, line["piece"]).exists()


def summarise(lines: Sequence[dict[str, Any]], workdir: pathlib.Path) -> dict[str, Any]:
    """The figures that ``result.json`` gets.

    Corrupted figures are taken per set, then averaged over the 75 sets (an
    ECE of pooled sets would let errors of opposite sign cancel). The CIFAR
    mCE is 1 - corrupted_accuracy. The extra corruptions have figures of their
    own and are in no average. ``adversarial_…`` is under the strongest attack
    that was run, the one that leaves the lowest accuracy.

    Args:
      lines: from ``run``.
      workdir: of the run, with the resamples.
    """
    found: dict[str, Any] = {}
    for kind, prefix in PREFIX.items():
        sets = [line for line in lines if line["kind"] == kind]
        if sets:
            found |= {f"{prefix}_{k}": value for k, value in _averages(sets, workdir).items()}
    names = dict.fromkeys(line["name"] for line in lines if line["kind"] == "attack")
    by_attack = {n: _pooled([line for line in lines if line["name"] == n]) for n in names}
    for name, figures in by_attack.items():
        found |= {f"{name}_{k}": value for k, value in figures.items()}
    if by_attack:
        strongest = min(by_attack.values(), key=lambda figures: figures["accuracy"])
        found |= {f"adversarial_{k}": value for k, value in strongest.items()}
        found["attacked_examples"] = next(ln["examples"] for ln in lines if ln["kind"] == "attack")
    return found


def _averages(sets: Sequence[dict[str, Any]], workdir: pathlib.Path) -> dict[str, Any]:
    """Means over sets, by severity too, and their intervals over the images of all sets."""
    names = [f"{name}{end}" for end in ("", "_ts", "_vs") for name in HEADLINE]
    names = [name for name in names if all(name in line for line in sets)]
    found: dict[str, Any] = {"examples": sets[0]["examples"]}
    found |= {name: float(np.mean([line[name] for line in sets])) for name in names}
    whole = {line["place"] for line in sets} == set(corruptions.SEVERITIES)
    for name in (n for n in BY_SEVERITY if n in names and whole):
        found[f"{name}_by_severity"] = [
            float(np.mean([line[name] for line in sets if line["place"] == severity]))
            for severity in corruptions.SEVERITIES
        ]
    if len({(line["examples"], line["labels"]) for line in sets}) == 1:
        found |= _joint_intervals(sets, names, workdir)
    return found


def _joint_intervals(sets, names, workdir):
    """Resample s takes the same images out of every set, as all show the same ones."""
    totals = dict.fromkeys(names, 0.0)
    for line in sets:
        with np.load(_resamples_path(workdir, line["piece"])) as saved:
            for name in names:
                totals[name] = totals[name] + saved[name].astype(np.float64)
    return {
        f"{name}_interval": bootstrap.percentiles(total / len(sets))
        for name, total in totals.items()
    }


def _pooled(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of all images under one attack, from the sums of its chunks."""
    num = sum(line["attacked"] for line in chunks)
    correct = sum(line["correct"] for line in chunks)
    found = {"accuracy": correct / num, "accuracy_interval": bootstrap.share_interval(correct, num)}
    for end in ("", "_ts"):
        sums = {
            field: np.sum([line[f"bins{end}"][field] for line in chunks], axis=0)
            for field in ("count", "correct", "confidence")
        }
        found[f"ece{end}"] = float(pairs.ece_of_sums(BucketStats(**sums)))
        found[f"nll{end}"] = sum(line[f"nll_sum{end}"] for line in chunks) / num
    return found
