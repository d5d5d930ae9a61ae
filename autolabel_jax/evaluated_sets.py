"""One set of corrupted or attacked images → its figures.

``start`` gives the device its work and returns at once with a function that waits for the
figures, so that the next set is on the device while the host reads this one.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autolabel_jax import (
    attacks,
    corrupted_sets,
    corruptions,
    evaluate,
    input_pipeline,
    metrics,
    processes,
)
from autolabel_jax import (
    experiment as experiment_lib,
)
from autolabel_jax.attacks import Attacked, of_model
from autolabel_jax.corruptions import published
from autolabel_jax.datasets import Split, StreamedSplit, in_memory
from autolabel_jax.metrics import Examples, pairs
from autolabel_jax.temperature import Scaling

ATTACK_CHUNK = 500  # images attacked between two lines of the file
ATTACK_BATCH = 512

# The figures of a set, for its line, and what its images resampled make of them.
Finished = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One set of images to evaluate: a corruption at a severity, or a chunk under attack."""

    kind: str  # 'corruption', 'extra' or 'attack'
    name: str
    place: int  # severity, or place of the chunk's first image

    def __str__(self) -> str:
        return f"{self.name}/{self.place}"


class Sets:
    """A trained model before the sets; programs and arrays are made once for all of them.

    Args:
      experiment: the fixed parts of the run.
      variables: of the trained state, in inference mode.
      test: images uint8 [n, H, W, 3].
      scaling: fitted on the calibration set.
      sets: published ones to read; None: corruptions are made here.
    """

    def __init__(
        self,
        experiment: experiment_lib.Experiment,
        variables: dict[str, Any],
        test: Split | StreamedSplit,
        scaling: Scaling,
        sets: published.Published | None = None,
    ):
        """Puts the test images on the device."""
        self._experiment, self._variables, self._test = experiment, variables, test
        self._scaling, self._sets = scaling, sets
        self._whole = input_pipeline.put_split(test, experiment.mesh)
        streamed = isinstance(test, StreamedSplit)
        self._kept = None if streamed else corrupted_sets.of(test, experiment.mesh)
        self._ensemble = functools.cache(self._make_ensemble)

    def start(self, piece: Piece) -> Callable[[], Finished]:
        """Begins a set; what is returned waits for its figures."""
        if piece.kind == "attack":
            return lambda: (self._attacked(piece), {})
        return self._published(piece) if self._sets else self._corrupted(piece)

    def stamp(self, kind: str) -> dict[str, Any]:
        """What the figures of a kind of pieces hang on, besides the checkpoint."""
        found = {"asked": len(self._test)}
        if kind != "attack":
            found["corrupted_data"] = self._sets.folder if self._sets else ""
            found |= {"vector_scaling": True} if self._scaling.vector else {}
        return found

    def _dispatch(self, split, transform=None):
        experiment = self._experiment
        make = evaluate.make_dispatch(
            experiment.model, experiment.mesh, experiment.eval_batch_size, transform
        )
        return make(self._variables, split)

    def _corrupted(self, piece):
        name, severity = piece.name, piece.place
        if self._kept is None:
            transform = corruptions.create(name, severity, size=self._test.input.shape[1])
            fetch = self._dispatch(self._whole, transform)
        else:
            fetch = self._dispatch(
                self._kept.take(
                    name,
                    severity,
                    self._whole,
                    self._experiment.eval_batch_size,
                    self._experiment.mesh,
                )
            )
        return lambda: self._figures(fetch(), self._test.label)

    def _published(self, piece):
        num, size = len(self._test), self._test.input.shape[1]
        splits = self._sets.read(piece.name, piece.place, num, size)
        fetches, labels = [], []
        for split in splits:
            self._check(piece, split)
            fetches.append(self._dispatch(input_pipeline.put_split(split, self._experiment.mesh)))
            labels.append(split.label)
        label = np.concatenate(labels)
        return lambda: self._figures(np.concatenate([fetch() for fetch in fetches]), label)

    def _check(self, piece, split):
        wanted, classes = self._test.input.shape[1:], self._experiment.num_classes
        if split.input.shape[1:] != wanted or split.label.max() >= classes:
            raise ValueError(
                f"--corrupted_data: {piece} has images {split.input.shape[1:]} and labels up to "
                f"{split.label.max()}; the run's are {wanted} with {classes} classes"
            )

    def _figures(self, logits, label) -> Finished:
        figures = {
            f"{name}{suffix}": value
            for suffix, scaled in self._scaling.twins(logits).items()
            for name, value in metrics.headline(metrics.examples(scaled, label)).items()
        }
        # Sets whose images come in the same order may be resampled together.
        order = {"examples": len(label), "labels": zlib.crc32(label.astype("<i4").tobytes())}
        return order | figures, evaluate.resamples(logits, label, self._scaling)

    def _make_ensemble(self, name):
        def model_fn(variables, image):
            return self._experiment.model.apply(variables, image, train=False)

        num_classes, variables = self._experiment.num_classes, self._variables
        if jax.process_count() > 1:  # each process attacks on its own devices
            variables = jax.tree.map(np.asarray, variables)
        return of_model.create(name, model_fn, variables, num_classes=num_classes)

    def _attacked(self, piece):
        chunk = slice(piece.place, piece.place + ATTACK_CHUNK)
        test = in_memory(self._test.take(chunk))
        attacked = self._attack_shared(piece, test)
        images = dataclasses.replace(test, input=attacked.images)
        logits = self._dispatch(input_pipeline.put_split(images, self._experiment.mesh))()
        line = {
            "examples": len(self._test),
            "attacked": len(test),
            "correct": int(attacked.correct.sum()),
            "after": attacked.accuracy_after,
        }
        twins = self._scaling.twins(logits)
        for suffix in ("", "_ts"):
            found = metrics.examples(twins[suffix], test.label)
            line |= _sums(found.replace(correct=attacked.correct), suffix)
        return line

    def _attack_shared(self, piece, test) -> Attacked:
        """The chunk attacked, by each process a share of it."""
        mesh, ensemble = self._experiment.mesh.local_mesh, self._ensemble(piece.name)
        devices, num = mesh.devices.size, len(test.label)
        batch_size = min(
            self._experiment.eval_batch_size, math.ceil(ATTACK_BATCH / devices) * devices
        )
        shares = np.array_split(np.arange(num), jax.process_count())
        own, most = shares[jax.process_index()], len(shares[0])
        names = ["clean", *(name for name, _ in ensemble.stages)]
        found = Attacked(
            0.0, np.zeros(0, bool), np.zeros((0, *test.input.shape[1:]), np.float32), {}
        )
        if own.size:
            found = attacks.robust_accuracy(
                ensemble,
                test.input[own],
                test.label[own],
                jax.random.key(0),
                batch_size=batch_size,
                start=piece.place + int(own[0]),
                sharding=NamedSharding(mesh, PartitionSpec("data")),
                progress=processes.is_first(),
            )
        if jax.process_count() == 1:
            return found
        left = np.array([[len(own) * found.accuracy_after.get(name, 0.0) for name in names]])
        left = np.rint(processes.gather(left.astype(np.float32), 1)).sum(axis=0)
        correct = processes.gather(found.correct, most)
        after = {name: float(n) / num for name, n in zip(names, left, strict=True)}
        return Attacked(float(correct.mean()), correct, processes.gather(found.images, most), after)


def _sums(examples: Examples, suffix: str) -> dict[str, Any]:
    """What chunks add up: NLL, and by bin of the confidence, with correct ones and confidence."""
    bins = pairs.bin_index(examples.confidence)
    by_bin = pairs.bin_sums(bins, examples.confidence, examples.correct)
    return {
        f"nll_sum{suffix}": float(examples.nll.sum(dtype=np.float64)),
        f"bins{suffix}": {
            field.name: getattr(by_bin, field.name).tolist() for field in dataclasses.fields(by_bin)
        },
    }
