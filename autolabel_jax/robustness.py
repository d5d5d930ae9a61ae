"""A trained state on corrupted and on attacked test images, set by set.

Every set that is done is a line of ``evaluation.jsonl``, so a long evaluation
that was stopped goes on where it was.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from autolabel_jax import attacks, corruptions, evaluate, input_pipeline, metric_writer, task
from autolabel_jax.datasets import Split

FILE = "evaluation.jsonl"
ATTACK_CHUNK = 500  # images attacked between two lines of the file
FIGURES = ("accuracy", "ece", "nll", "brier")


@dataclasses.dataclass(frozen=True)
class Piece:
    """One set of images to evaluate: a corruption at a severity, or a chunk under attack."""

    kind: str  # 'corruption' or 'attack'
    name: str
    place: int  # severity, or place of the chunk's first image

    def __str__(self) -> str:
        return f"{self.name}/{self.place}"


def plan(*, corrupted: bool, attack_names: Sequence[str], num_examples: int) -> list[Piece]:
    """The pieces of an evaluation: 15 corruptions × 5 severities, and the attacks in chunks.

    Raises:
      ValueError: unknown attack.
    """
    unknown = [name for name in attack_names if name not in attacks.TABLE]
    if unknown:
        known = ", ".join(attacks.TABLE)
        raise ValueError(f"--attacks: got {', '.join(unknown)}, known are {known}")
    pieces = []
    if corrupted:
        pieces += [
            Piece("corruption", name, severity)
            for name in corruptions.CORRUPTIONS
            for severity in corruptions.SEVERITIES
        ]
    for name in attack_names:
        pieces += [Piece("attack", name, first) for first in range(0, num_examples, ATTACK_CHUNK)]
    return pieces


def run(
    pieces: Iterable[Piece],
    parts: task.Task,
    variables: dict[str, Any],
    test: Split,
    temperature: float,
    workdir: pathlib.Path,
    checkpoint: int,
) -> list[dict[str, Any]]:
    """Evaluates what is not in the file yet; returns the lines of all pieces.

    Args:
      pieces: from ``plan``.
      parts: of the run.
      variables: of the trained state, in inference mode.
      test: images uint8 [n, H, W, 3].
      temperature: fitted on the calibration set.
      workdir: holds ``evaluation.jsonl``.
      checkpoint: optimiser updates of the trained state; lines of another one,
        or of another number of images, do not count.
    """
    stamp = {"checkpoint": checkpoint, "examples": len(test)}
    path = workdir / FILE
    before = metric_writer.read_json_lines(path)
    metric_writer.rewrite_json_lines(path, before)  # without a line cut off by a kill
    done = {line["piece"]: line for line in before if stamp.items() <= line.items()}
    whole = input_pipeline.put_split(test, parts.mesh)
    lines = []
    for piece in (bar := tqdm(list(pieces), unit="set", dynamic_ncols=True)):
        bar.set_postfix_str(str(piece))
        if str(piece) not in done:
            measure = _corrupted if piece.kind == "corruption" else _attacked
            figures = measure(piece, parts, variables, whole, test, temperature)
            line = {**stamp, **dataclasses.asdict(piece), "piece": str(piece), **figures}
            metric_writer.append_json_line(path, line)
            done[str(piece)] = line
        lines.append(done[str(piece)])
    return lines


def summarise(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that ``result.json`` gets.

    Corrupted figures are taken per set, then averaged over the 75 sets (an
    ECE of pooled sets would let errors of opposite sign cancel). The CIFAR
    mCE is 1 - corrupted_accuracy. ``adversarial_accuracy`` is that under the
    strongest attack that was run.
    """
    found: dict[str, Any] = {}
    sets = [line for line in lines if line["kind"] == "corruption"]
    if sets:
        found["corrupted_examples"] = sets[0]["examples"]
        for name in (*FIGURES, *(f"{figure}_ts" for figure in FIGURES)):
            found[f"corrupted_{name}"] = float(np.mean([line[name] for line in sets]))
        for name in ("accuracy", "ece", "ece_ts"):
            found[f"corrupted_{name}_by_severity"] = [
                float(np.mean([line[name] for line in sets if line["place"] == severity]))
                for severity in corruptions.SEVERITIES
            ]
    attacked = [line for line in lines if line["kind"] == "attack"]
    for name in dict.fromkeys(line["name"] for line in attacked):
        chunks = [line for line in attacked if line["name"] == name]
        correct = sum(line["correct"] for line in chunks)
        found[f"{name}_accuracy"] = correct / sum(line["attacked"] for line in chunks)
    if attacked:
        found["attacked_examples"] = attacked[0]["examples"]
        robust = [found[f"{name}_accuracy"] for name in {line["name"] for line in attacked}]
        found["adversarial_accuracy"] = min(robust)
    return found


def _corrupted(piece, parts, variables, whole, test, temperature) -> dict[str, Any]:
    size = test.image.shape[1]
    transform = corruptions.create(piece.name, piece.place, size=size)
    predict = evaluate.make_predict(parts.model, parts.mesh, parts.eval_batch_size, transform)
    figures = evaluate.with_twins(predict(variables, whole), test.label, temperature)
    return {name: v for name, v in figures.items() if name.removesuffix("_ts") in FIGURES}


def _attacked(piece, parts, variables, whole, test, temperature) -> dict[str, Any]:
    del whole, temperature
    chunk = slice(piece.place, piece.place + ATTACK_CHUNK)

    def logits_fn(image):
        return parts.model.apply(variables, image, train=False)

    attacked = attacks.robust_accuracy(
        attacks.create(piece.name, logits_fn, num_classes=parts.num_classes),
        test.image[chunk],
        test.label[chunk],
        jax.random.key(0),
        batch_size=parts.eval_batch_size,
        start=piece.place,
        sharding=NamedSharding(parts.mesh, PartitionSpec("data")),
    )
    correct = attacked.correct
    return {
        "correct": int(correct.sum()),
        "attacked": len(correct),
        "after": attacked.accuracy_after,
    }
