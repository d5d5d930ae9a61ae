"""Several seeds of one config in one program, by vmap; each comes out as its single run does.

It pays where one seed's step is too small to fill the device, see docs/sweeps.md.
"""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from autolabel_jax import (
    checkpoint,
    datasets,
    input_pipeline,
    metric_writer,
    processes,
    result,
    seed_stack,
    task,
    train,
)
from autolabel_jax.checkpoint import Snapshot
from autolabel_jax.train import NonFiniteLossError
from autolabel_jax.types import StepMetrics, TrainState


class _Member(NamedTuple):
    """One run, and its own of all that is made from a config."""

    config: ConfigDict
    dataset: datasets.Dataset
    parts: task.Task
    workdir: pathlib.Path


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where all runs stand: as ``Snapshot``, with a stacked state and the sums of each run."""

    state: TrainState
    epoch: int
    step: int
    sums: list[StepMetrics]


def train_seeds(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[pathlib.Path],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    progress: bool = True,
) -> list[dict[str, Any] | NonFiniteLossError]:
    """Trains one config with several seeds, and evaluates each; or goes on where it stopped.

    Checkpoints are written when it is stopped and at the end. After a kill the seeds
    start over. In metrics.jsonl a seed's ``seconds`` are its share of what all took together,
    and ``images_per_second`` is the rate of all together.

    Args:
      configs: they differ in nothing but ``seed``.
      workdirs: of each; they hold what ``train.train`` leaves. A finished one is only read.
      should_stop: asked after every dispatch; true saves and stops.
      progress: show a bar.

    Returns:
      What each ``result.json`` holds; or, of a seed that diverged, the error.

    Raises:
      ValueError: configs that differ elsewhere, streamed data, several processes, or what
        ``train.train`` refuses.
      train.Stopped: after saving, when ``should_stop`` says so.
    """
    _check(configs)
    mesh = input_pipeline.make_mesh()
    found: dict[int, Any] = {}
    left: dict[int, _Member] = {}
    for i, (config, workdir) in enumerate(zip(configs, workdirs, strict=True)):
        dataset = datasets.load(config)
        member = _Member(config, dataset, task.create(config, dataset, mesh), pathlib.Path(workdir))
        checkpoint.claim(member.workdir, config)
        path = member.workdir / "result.json"
        if path.exists():
            found[i] = metric_writer.read_json(path)
        else:
            left[i] = member
    if left:
        found |= zip(left, _train(list(left.values()), should_stop, progress), strict=True)
    return [found[i] for i in range(len(configs))]


def _check(configs: Sequence[ConfigDict]) -> None:
    def but_seed(config):
        return json.loads(config.to_json()) | {"seed": None}

    if any(but_seed(config) != but_seed(configs[0]) for config in configs):
        raise ValueError("seeds in one program: the configs differ in more than `seed`")
    if len({config.seed for config in configs}) < len(configs):
        raise ValueError("seeds in one program: got a seed twice")
    if datasets.is_streamed(configs[0]):
        raise ValueError(
            "stream: got photographs from disk, but seeds in one program each keep their whole "
            "splits on the device, so it is for small data sets; train the seeds one by one"
        )
    if jax.process_count() > 1:
        raise ValueError("seeds in one program: takes one process; train the seeds one by one")


def _train(
    members: list[_Member], should_stop: Callable[[], bool], progress: bool
) -> list[dict[str, Any] | NonFiniteLossError]:
    """Results or errors of runs that are not finished."""
    config, dataset, parts, _ = members[0]
    total = config.epochs * parts.steps_per_epoch
    with (
        contextlib.ExitStack() as opened,
        tqdm(total=total, unit="step", disable=not progress, dynamic_ncols=True) as bar,
    ):
        runs = []
        for m in members:
            saved = checkpoint.Checkpoints(m.workdir, config.checkpoint.keep)
            opened.enter_context(saved)
            runs.append(train.make_run(m.config, m.parts, m.dataset, saved, should_stop, bar))
        seeds = seed_stack.create(runs)
        place = _first_place(runs, dataset.train.image.shape[1:])
        bar.update(place.epoch * parts.steps_per_epoch + place.step)
        state = _epochs(seeds, place, [m.workdir for m in members])
    return [
        seeds.errors.get(s) or _make_result(m, seed_stack.pick(state, s))
        for s, m in enumerate(members)
    ]


def _make_result(member: _Member, state: TrainState) -> dict[str, Any]:
    state = processes.replicate(state, member.parts.mesh)
    found = result.make_result(member.config, member.parts, member.dataset, state, member.workdir)
    metric_writer.write_json(member.workdir / "result.json", found)
    return found


def _first_place(runs: list[train.Run], example_shape: tuple[int, ...]) -> _Place:
    """Where all runs were stopped together; else the beginning."""
    first = [checkpoint.first_snapshot(r.task, r.config.seed, example_shape) for r in runs]
    found = [run.saved.restore(like) for run, like in zip(runs, first, strict=True)]
    if len({f and (int(f.epoch), int(f.step)) for f in found}) > 1 or None in found:
        found = first
        for run in runs:
            run.saved.clear()  # one from further on would stand in the way of those to come
    return _Place(
        state=seed_stack.stack([snapshot.state for snapshot in found]),
        epoch=int(found[0].epoch),
        step=int(found[0].step),
        sums=[jax.tree.map(np.asarray, snapshot.metrics) for snapshot in found],
    )


def _epochs(seeds: seed_stack.Seeds, place: _Place, workdirs: list[pathlib.Path]) -> TrainState:
    """All epochs from the place on; the stacked state after the last."""
    config = seeds.runs[0].config
    writers = [metric_writer.MetricWriter(folder, place.epoch) for folder in workdirs]
    for epoch in range(place.epoch, config.epochs):
        began, steps_before = time.perf_counter(), place.step
        place = _train_epoch(seeds, place)
        if not seeds.going():
            break
        trained = time.perf_counter() - began
        stats, clean = seed_stack.measure(seeds, place.state, epoch)
        state = place.state
        if train.update_is_due(config, epoch):
            state = state.replace(labels=seeds.update_labels(state.labels, stats))
        images = (seeds.task.steps_per_epoch - steps_before) * seeds.task.batch_size
        times = {
            "images_per_second": len(seeds.runs) * images / trained,
            "seconds": (time.perf_counter() - began) / len(seeds.runs),
        }
        small = state.replace(params={}, batch_stats={}, opt_state=(), ema_params=None)
        small, stats = jax.device_get((small, stats))
        for s in seeds.going():
            own = seed_stack.pick((small, stats), s)
            line = train.epoch_line(epoch, place.sums[s], *own, clean[s])
            writers[s].write(line | times)
        place = _Place(state, epoch + 1, 0, [checkpoint.no_metrics() for _ in seeds.runs])
    for writer in writers:
        writer.close()
    _save(seeds, place)
    return place.state


def _train_epoch(seeds: seed_stack.Seeds, place: _Place) -> _Place:
    """The rest of an epoch. Sums are read one dispatch late, so the device never waits."""
    first, parts = seeds.runs[0], seeds.task
    num = input_pipeline.num_examples(first.batches.whole)
    key = jnp.stack(seeds.keys(place.epoch, train.TRAINING))
    order = jnp.stack(
        [input_pipeline.epoch_order(r.config.seed, place.epoch, num) for r in seeds.runs]
    )
    state, step, sums, unread = place.state, place.step, list(place.sums), None

    def read():
        metrics, since = jax.device_get(unread[0]), unread[1]
        for s in seeds.going():
            own = (sums[s], seed_stack.pick(metrics, s), place.epoch, since)
            sums[s] = seeds.guarded(s, train.add_metrics, *own)

    stop = first.should_stop()
    while step < parts.steps_per_epoch and not stop and seeds.going():
        num_steps = min(first.batches.most_steps, parts.steps_per_epoch - step)
        state, metrics = seeds.train_steps(
            seeds.edges, state, seeds.whole, order, key, np.int32(step), num_steps=num_steps
        )
        if unread is not None:
            read()
        unread = (metrics, step)
        step += num_steps
        first.bar.update(num_steps)
        stop = first.should_stop()
    if unread is not None:
        read()
    place = _Place(state, place.epoch, step, sums)
    if stop:
        _save(seeds, place)
        raise train.Stopped(
            f"stopped in epoch {place.epoch + 1} of {first.config.epochs} after step {step} of "
            f"{parts.steps_per_epoch}, with {len(seeds.runs)} seeds in one program; saved; "
            "the same command goes on from there"
        )
    return place


def _save(seeds: seed_stack.Seeds, place: _Place) -> None:
    for s in seeds.going():
        own = Snapshot(
            state=seed_stack.pick(place.state, s),
            epoch=np.int32(place.epoch),
            step=np.int32(place.step),
            metrics=place.sums[s],
        )
        seeds.guarded(s, train.save, own)
