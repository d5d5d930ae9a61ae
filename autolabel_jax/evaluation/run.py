"""Evaluates corrupted and attacked test images in units, and records finished units."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import jax

from autolabel_jax import attacks, corruptions, processes
from autolabel_jax.corruptions.published import Published
from autolabel_jax.datasets import Dataset, Split, StreamedSplit, fingerprint
from autolabel_jax.evaluation import attacked, corrupted, published
from autolabel_jax.evaluation.corrupted import Finished
from autolabel_jax.evaluation.ledger import Ledger, Line
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.progress import Progress

FORMAT = 3  # of a line; lines of other formats are ignored


@dataclasses.dataclass(frozen=True)
class Unit:
    """One step of an evaluation: a corruption at a severity, or a chunk under attack."""

    kind: str  # 'corruption', 'extra' or 'attack'
    name: str
    place: int  # severity, or place of the chunk's first image

    def __str__(self) -> str:
        return f"{self.name}/{self.place}"


def plan(
    *,
    corrupted: bool,
    extra: bool = False,
    attack_names: Sequence[str],
    num_examples: int,
    kind: str = "image",
) -> list[Unit]:
    """Lists the units of an evaluation: corruptions × 5 severities, and attacks in chunks.

    Args:
      corrupted: whether to include the corruptions of the kind, 15 of images.
      extra: whether to include the 4 extra corruptions of images.
      attack_names: names of ``attacks.TABLE``.
      num_examples: number of images to attack.
      kind: kind of the inputs.

    Raises:
      ValueError: an attack is unknown, or the kind has no such corruptions or attacks.
    """
    unknown = [name for name in attack_names if name not in attacks.TABLE]
    if unknown:
        raise ValueError(
            f"--attacks: got {', '.join(unknown)}, expected one of: {', '.join(attacks.TABLE)}"
        )
    for flag, asked in (("extra_corruptions", extra), ("attacks", attack_names)):
        if asked and kind != "image":
            raise ValueError(f"--{flag}: the data are inputs of kind {kind!r}, not images")
    names = {"corruption": corruptions.names(kind) if corrupted else ()}
    names["extra"] = corruptions.EXTRA if extra else ()
    units = [
        Unit(kind, name, severity)
        for kind, of_kind in names.items()
        for name in of_kind
        for severity in corruptions.SEVERITIES
    ]
    for name in attack_names:
        units += [Unit("attack", name, i) for i in range(0, num_examples, attacked.CHUNK)]
    return units


def run(
    units: Iterable[Unit],
    predictor: Predictor,
    test: Split | StreamedSplit,
    ledger: Ledger,
    *,
    dataset: Dataset | None = None,
    sets: Published | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Line]:
    """Evaluates the units that the ledger lacks; returns the lines of all units.

    Each unit is started on the device while the result of the previous one is fetched. A line of
    the ledger counts if it was computed from the same weights, scaling and images. Attacks that
    were finished on these images by an earlier call are returned too, so that the strongest attack
    is one of all.

    Args:
      units: from ``plan``.
      predictor: the trained model.
      test: images uint8 [n, H, W, 3], or inputs of ``dataset``.
      ledger: ledger of the run.
      dataset: data set of the inputs, if they are not images.
      sets: published corrupted sets to read; None makes them on the device.
      should_stop: called before each unit.

    Raises:
      processes.Stopped: ``should_stop`` returned True; finished units are in the ledger.
    """
    units = list(units)
    stamps = _stamps({unit.kind for unit in units}, predictor, test, sets)
    done = processes.on_first(lambda: _counting(ledger, stamps))
    start = _make_start(predictor, test, sets, dataset)

    def finish(unit: Unit, fetch: Callable[[], Finished]) -> None:
        metrics, resamples = fetch()
        line = {**stamps[unit.kind], **dataclasses.asdict(unit), "piece": str(unit), **metrics}
        if processes.is_first():
            ledger.write(line, _short(stamps[unit.kind]), resamples)
        done[str(unit)] = line

    started, stop = None, processes.agreed(should_stop, predictor.mesh)
    with Progress("", len(units), unit="set", shown=processes.is_first()) as display:
        for unit in units:
            display.begin(f"evaluating {unit}")
            if str(unit) not in done:
                following = None if stop() else (unit, start(unit))
                if started:
                    finish(*started)
                if following is None:
                    raise processes.Stopped("stopped in the evaluation; finished sets are kept")
                started = following
            display.advance()
        if started:
            finish(*started)
    asked = [done[str(unit)] for unit in units]
    return asked + _earlier_attacks(asked, done.values())


def _make_start(
    predictor: Predictor,
    test: Split | StreamedSplit,
    sets: Published | None,
    dataset: Dataset | None,
) -> Callable[[Unit], Callable[[], Finished]]:
    """Makes the function that starts a unit; images and attacks are prepared once."""
    on_device = functools.cache(lambda: corrupted.put(test, predictor.mesh, dataset))
    ensemble = functools.cache(lambda name: attacked.make_ensemble(predictor, name))

    def start(unit: Unit) -> Callable[[], Finished]:
        name, place = unit.name, unit.place
        if unit.kind == "attack":
            return lambda: (attacked.evaluate(predictor, test, ensemble(name), place), {})
        if sets:
            return published.start(predictor, test, sets, name, place)
        return corrupted.start(predictor, on_device(), name, place)

    return start


def _stamps(
    kinds: Iterable[str],
    predictor: Predictor,
    test: Split | StreamedSplit,
    sets: Published | None,
) -> dict[str, Line]:
    """Returns what the metrics of each kind of units depend on."""
    common = processes.on_first(
        lambda: {
            "format": FORMAT,
            "weights": fingerprint.of_arrays(jax.tree.leaves(predictor.variables)),
            "temperature": predictor.scaling.temperature,
            "images": fingerprint.of_split(test),
        }
    )
    common |= {"views": predictor.views} if predictor.views else {}
    of_sets: Line = {"corrupted_data": sets.folder if sets else ""}
    of_sets |= {"corrupted_files": sets.fingerprint} if sets else {}
    of_sets |= {"vector_scaling": True} if predictor.scaling.vector else {}
    return {kind: common | ({} if kind == "attack" else of_sets) for kind in kinds}


def _short(stamp: Line) -> str:
    text = json.dumps(stamp, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[: fingerprint.SHOWN]


def _earlier_attacks(asked: Iterable[Line], done: Iterable[Line]) -> list[Line]:
    """Returns the lines of attacks that an earlier call finished on all of the same images."""
    names = {line["name"] for line in asked}
    attacks_done: dict[str, list[Line]] = {}
    for line in done:
        if line["kind"] == "attack" and line["name"] not in names:
            attacks_done.setdefault(line["name"], []).append(line)
    return [
        line
        for lines in attacks_done.values()
        if sum(line["attacked"] for line in lines) == lines[0]["examples"]
        for line in sorted(lines, key=lambda line: line["place"])
    ]


def _counting(ledger: Ledger, stamps: dict[str, Line]) -> dict[str, Line]:
    """Returns the valid lines of the ledger, by unit."""

    def counts(line):
        stamp = stamps.get(line["kind"])
        return (
            stamp is not None
            and stamp.items() <= line.items()
            and line.get("views") == stamp.get("views")
            and (line["kind"] == "attack" or ledger.has_resamples(line))
        )

    return {line["piece"]: line for line in ledger.done() if counts(line)}
