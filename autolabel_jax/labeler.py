"""Learns soft labels for a model of any framework: NumPy arrays in, NumPy arrays out.

    labeler = Labeler(num_classes=10, buckets=5)
    for each epoch:
        train on labeler.soft_labels(label, distance), of training examples
        labeler.update(logits, label, distance), of held-out examples

Buckets, statistics and rules are those of a run: ``buckets``, ``calibration`` and ``labels``.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from autolabel_jax import buckets as buckets_lib
from autolabel_jax import calibration, files, labels, registry
from autolabel_jax.types import Distance

FORMAT = 1  # of saved files


class Labeler:
    """Holds the label of each bucket, and moves it after each round of held-out logits.

    A bucket is a group, the discrete part of a distance, and an interval of its value. A label is
    the probability of the true class. It starts as that of the augmentation: 1, a one-hot label.

    Attributes:
      edges: edges of the M intervals, float32 [M + 1].
      rounds: number of updates so far.
    """

    edges: np.ndarray
    rounds: int

    def __init__(
        self,
        num_classes: int,
        *,
        buckets: int | ArrayLike = 10,
        num_groups: int = 1,
        rule: str = "autolabel",
        start: ArrayLike = 1.0,
        num_bins: int = calibration.NUM_BINS,
        **settings: Any,
    ):
        """Makes the labels before the first round.

        Args:
          num_classes: number of classes K, at least 2.
          buckets: number of intervals M of equal width, or their edges, as of
            ``buckets.make_edges``.
          num_groups: number of groups G of distances; there are N = G · M buckets.
          rule: key of ``labels.TABLE``, or ``module:Class``.
          start: first labels, a number or float [N]; for mixup, 1 - γ at the middle of the bucket.
          num_bins: number of confidence bins of the ECE.
          **settings: settings of the rule, such as ``alpha``.

        Raises:
          ValueError: an argument is not valid, or the rule needs more than held-out logits.
        """
        for name, value, low in (
            ("num_classes", num_classes, 2),
            ("num_groups", num_groups, 1),
            ("num_bins", num_bins, 1),
        ):
            if value < low:
                raise ValueError(f"{name}: got {value}, must be at least {low}")
        self.edges, self.rounds = _edges(buckets), 0
        self._given = {"num_classes": num_classes, "num_groups": num_groups, "num_bins": num_bins}
        self._rule_name, self._rule = rule, _make_rule(rule, settings)
        num_buckets = num_groups * (len(self.edges) - 1)
        self._state = self._rule.init(_first(start, num_buckets), num_bins=num_bins)
        sizes = {"num_buckets": num_buckets, "num_bins": num_bins}
        self._stats = jax.jit(functools.partial(calibration.bucket_stats, **sizes))
        self._update = jax.jit(functools.partial(self._rule.update, num_groups=num_groups))
        self._labels = jax.jit(functools.partial(self._rule.soft_labels, num_classes=num_classes))

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the true class in each bucket, float32 [N], group by group."""
        return np.asarray(self._rule.metrics(self._state)["confidence"])

    def bucket(self, distance: ArrayLike, group: ArrayLike | None = None) -> np.ndarray:
        """Returns the bucket of each example, int32 [n]; arguments are those of ``soft_labels``."""
        return np.asarray(buckets_lib.bucket_index(self._distance(distance, group), self.edges))

    def soft_labels(
        self,
        label: ArrayLike,
        distance: ArrayLike,
        group: ArrayLike | None = None,
        *,
        second_label: ArrayLike | None = None,
        second_weight: ArrayLike | None = None,
    ) -> np.ndarray:
        """Returns the soft labels of training examples, float32 [n, K], whose rows sum to 1.

        Args:
          label: class of each example, int [n] from 0.
          distance: how far each example was moved, float [n] in [0, 1].
          group: group of its distance, int [n]; None for 0.
          second_label: class that was mixed in (mixup), int [n], or None.
          second_weight: its share γ, float [n] in [0, 1/2], or None.

        Raises:
          ValueError: shape, type or values of an argument are not valid.
        """
        at = self._distance(distance, group)
        num, last = len(at.value), self._given["num_classes"] - 1
        if (second_label is None) != (second_weight is None):
            raise ValueError("second_label, second_weight: give both, or neither")
        mixed: dict[str, np.ndarray] = {}
        if second_label is not None and second_weight is not None:
            mixed["second_label"] = _column("second_label", second_label, num, last)
            mixed["second_weight"] = _column("second_weight", second_weight, num, 0.5)
        known = _column("label", label, num, last)
        where = buckets_lib.bucket_index(at, self.edges)
        # A copy, as arrays of JAX are read-only, of which PyTorch warns.
        return np.array(self._labels(self._state, known, where, distance=at, **mixed))

    def update(
        self,
        logits: ArrayLike,
        label: ArrayLike,
        distance: ArrayLike,
        group: ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        """Measures a round of held-out augmented examples, and moves the labels.

        They must not be training examples, on which a model is more confident. The label of a
        bucket without any example does not change.

        Args:
          logits: what the model computed of them in inference mode, float [n, K].
          label: as in ``soft_labels``; in a mixture, the class of the larger share.
          distance: as in ``soft_labels``.
          group: as in ``soft_labels``.

        Returns:
          count, accuracy, confidence and ece (NaN in an empty bucket) and label_confidence, the
          new label, of each bucket, float32 [N].

        Raises:
          ValueError: shape, type or values of an argument are not valid.
        """
        scores = _checked_logits(logits, self._given["num_classes"])
        known = _column("label", label, len(scores), self._given["num_classes"] - 1)
        at = self._distance(distance, group, num=len(scores))
        stats = self._stats(scores, known, buckets_lib.bucket_index(at, self.edges))
        self._state = self._update(self._state, stats)
        self.rounds += 1
        measured = {name: np.asarray(read(stats)) for name, read in calibration.COLUMNS.items()}
        return {**measured, "label_confidence": self.confidence}

    def save(self, path: str | pathlib.Path) -> None:
        """Writes labels, rule and settings to a file, atomically; ``load`` continues from it."""
        described = {
            **{"format": FORMAT, "rounds": self.rounds, "rule": self._rule_name},
            **{"sizes": self._given, "settings": dataclasses.asdict(self._rule)},
        }
        leaves = jax.tree.leaves(self._state)
        state = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        text = np.array(json.dumps(described))
        files.write_npz(pathlib.Path(path), described=text, edges=self.edges, **state)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Labeler":
        """Reads a file that ``save`` wrote.

        Raises:
          FileNotFoundError, ValueError: the file is missing, damaged or of another format.
        """
        saved = files.read_npz(pathlib.Path(path))
        described = json.loads(str(saved["described"])) if "described" in saved else {}
        if described.get("format") != FORMAT:
            raise ValueError(f"{path}: is no file that this version of Labeler.save wrote")
        made = cls(
            **described["sizes"],
            rule=described["rule"],
            buckets=saved["edges"],
            **described["settings"],
        )
        structure = jax.tree.structure(made._state)
        leaves = [jnp.asarray(saved[f"state_{i}"]) for i in range(structure.num_leaves)]
        made._state, made.rounds = structure.unflatten(leaves), described["rounds"]
        return made

    def _distance(
        self, distance: ArrayLike, group: ArrayLike | None, num: int | None = None
    ) -> Distance:
        num = len(np.atleast_1d(distance)) if num is None else num
        value = _column("distance", distance, num, 1.0)
        last = self._given["num_groups"] - 1
        groups = np.zeros(num, np.int32) if group is None else _column("group", group, num, last)
        return Distance(group=groups, value=value)


def _make_rule(name: str, settings: dict[str, Any]) -> labels.LabelRule:
    """Creates a rule that needs nothing but held-out logits.

    Raises:
      ValueError: it needs more, or a setting is unknown or out of range.
    """
    method = labels.find(name)
    scales_loss = method.loss_scale is not labels.LabelRule.loss_scale
    reads = (method.reads_confusion, method.reads_teacher, method.reads_examples)
    if any((*reads, method.reads_classes, scales_loss)):
        raise ValueError(f"rule: got {name!r}, which needs more than held-out logits")
    known = registry.settings(method)
    for setting in settings.keys() - known.keys():
        expected = ", ".join(known) or "none"
        raise ValueError(f"{setting}: is no setting of rule {name!r}, expected some of: {expected}")
    return registry.bind("rule", method, settings)


def _edges(given: int | ArrayLike) -> np.ndarray:
    """Returns the edges of intervals: the given ones, or of a number of equal intervals."""
    if isinstance(given, int):
        return buckets_lib.make_edges("equal_width", given)
    edges = np.asarray(given, np.float32)
    inside = edges.ndim == 1 and len(edges) > 1 and (edges[0], edges[-1]) == (0, 1)
    if not inside or not (np.diff(edges) > 0).all():
        raise ValueError(f"buckets: got {given}, expected a number, or edges that rise from 0 to 1")
    return edges


def _first(start: ArrayLike, num_buckets: int) -> jax.Array:
    given = np.asarray(start, np.float32)
    first = np.full(num_buckets, given) if given.ndim == 0 else given
    return jnp.asarray(_column("start", first, num_buckets))


def _checked_logits(logits: ArrayLike, num_classes: int) -> np.ndarray:
    scores = np.asarray(logits)
    if scores.ndim != 2 or scores.shape[1] != num_classes or scores.dtype.kind != "f":
        raise ValueError(
            f"logits: got {scores.dtype} {list(scores.shape)}, expected floats [n, {num_classes}]"
        )
    if not len(scores):
        raise ValueError("logits: got no example")
    scores = scores.astype(np.float32)
    finite = np.isfinite(scores).all(-1)
    if not finite.all():
        raise ValueError(f"logits: row {finite.argmin()} holds a number that is not finite")
    return scores


def _column(name: str, values: ArrayLike, num: int, high: float = 1.0) -> np.ndarray:
    """Returns a checked number a row, from 0 to ``high``: int32 if that is an integer."""
    column, is_int = np.asarray(values), isinstance(high, int)
    kinds, expected = ("iu", "integers") if is_int else ("fiu", "numbers")
    if column.shape != (num,) or column.dtype.kind not in kinds:
        raise ValueError(
            f"{name}: got {column.dtype} {list(column.shape)}, expected {expected} [{num}]"
        )
    inside = (column >= 0) & (column <= high)  # NaN is not
    if not inside.all():
        row = inside.argmin()
        raise ValueError(f"{name}: got {column[row]} in row {row}, must be from 0 to {high}")
    return column.astype(np.int32 if is_int else np.float32)
