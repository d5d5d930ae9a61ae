"""Makes the calls that ``benchmarks.calibration`` times."""

import argparse
import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from autolabel_jax import (
    calibration_step,
    image_ops,
    input_pipeline,
    label_updates,
    processes,
    visits,
)
from autolabel_jax import experiment as experiment_lib
from benchmarks import label_cost
from benchmarks import train_step_jax as own
from configs import base

TRAIN_PER_CALIBRATION = 9  # training images per held-out one


@dataclasses.dataclass(frozen=True)
class Calls:
    """The timed calls of one augmentation and number of buckets; each call waits for its work.

    Attributes:
      experiment: the fixed parts of the run.
      calibrate: evaluates the given number of held-out images in every bucket.
      visit: makes the visits of an update, and updates the labels.
      num_visits: number of these visits; 0 for a full pass, if it makes no more.
      floor: makes as many forward passes.
      look_up: looks up soft labels.
      train: label rule → training steps; empty if they are not timed.
    """

    experiment: experiment_lib.Experiment
    calibrate: Callable[[int], None]
    visit: Callable[[], None]
    num_visits: int
    floor: Callable[[int], None]
    look_up: Callable[[], None]
    train: dict[str, Callable[[], None]]

    def compile(self, images: int) -> None:
        """Makes every call once, which compiles it."""
        self.calibrate(images)
        self.floor(images)
        self.visit()
        for call in (self.look_up, *self.train.values()) if self.train else ():
            call()


def make_calls(augment: str, buckets: int, arguments: argparse.Namespace, steps: bool) -> Calls:
    """Puts arrays on the device and makes the calls over them.

    Args:
      augment: name in train_step_jax.AUGMENTATIONS.
      buckets: value of config.buckets.num.
      arguments: arguments of the command line.
      steps: whether to make training steps too.
    """
    batch, eval_batch = arguments.batch_size, arguments.eval_batch_size
    # All numbers of images use a split of the same size, because another needs another program.
    dataset = own.noise(max(2 * arguments.images, arguments.steps * batch))
    name = "crop_flip" if augment == "none" else augment
    experiments = {
        rule: own.make_experiment(
            arguments.model,
            name,
            dataset,
            dtype=arguments.dtype,
            batch_size=batch,
            eval_batch_size=eval_batch,
            buckets__num=buckets,
            labels__rule=rule,
            calibration__exact=True,
        )
        for rule in (label_cost.RULES if steps else label_cost.RULES[:1])
    }
    experiment = experiments["autolabel"]
    state = processes.replicate(
        experiment_lib.init_state(experiment, 0, (own.SIDE, own.SIDE, 3)), experiment.mesh
    )
    held_out = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=experiment))
    key = jax.random.key(0)

    def calibrate(images: int) -> None:
        chosen = np.arange(images)
        stats = calibration_step.calibrate(
            state, held_out, key, step=step, experiment=experiment, chosen=chosen
        )
        jax.block_until_ready(stats)

    images = images_of(augment, arguments)
    update = jax.jit(functools.partial(experiment.rule.update_carried, num_examples=images))
    empty, clean = experiment.nothing_carried(), np.zeros((len(held_out.label), own.NUM_CLASSES))
    some = dataclasses.replace(experiment, visits=num_visits(experiment, images))

    carry = jax.jit(functools.partial(label_updates.carry, share=0.1, experiment=some))

    def visit() -> None:
        if not some.visits:
            return calibrate(images)
        order = np.arange(images)
        stats = calibration_step.visit(
            state, held_out, key, step=step, experiment=some, order=order, epoch=0
        )
        visited = visits.place(0, some.visits, order, some.num_buckets)
        carried = carry(empty, stats, clean, held_out.label, *visited)
        jax.block_until_ready(update(state.labels, carried))

    image = image_ops.to_float(held_out.input[:eval_batch])
    forward = jax.jit(functools.partial(experiment.model.apply, train=False))
    variables = experiment_lib.inference_variables(state)

    def floor(images: int) -> None:
        for _ in range(experiment.num_buckets * -(-images // eval_batch)):
            logits = forward(variables, image)
        logits.block_until_ready()

    train = {
        rule: label_cost.train_call(of_rule, dataset, arguments.steps)
        for rule, of_rule in experiments.items()
        if steps
    }
    many = label_cost.look_up(experiment, state.labels, batch)
    return Calls(
        experiment=experiment,
        calibrate=calibrate,
        visit=visit,
        num_visits=some.visits,
        floor=floor,
        look_up=many,
        train=train,
    )


def num_visits(experiment: experiment_lib.Experiment, images: int) -> int:
    """Returns the default number of visits in an update for a number of held-out images."""
    return visits.count(
        base.base().calibration.share,
        num_train=TRAIN_PER_CALIBRATION * images,
        num_held_out=images,
        num_passes=experiment.num_passes,
        batch_size=experiment.eval_batch_size,
        mesh=experiment.mesh,
    )


def images_of(augment: str, arguments: argparse.Namespace) -> int:
    """Returns the number of held-out images of an augmentation."""
    return arguments.adversarial_images if augment == "adversarial" else arguments.images
