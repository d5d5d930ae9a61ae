"""Times this project's training step for ``benchmarks/train_step.py``."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autolabel_jax import experiment as experiment_lib
from autolabel_jax import input_pipeline, processes, train_step
from autolabel_jax.datasets import Dataset, Split
from benchmarks import harness
from configs import base

# Fields of config.model for each network.
MODELS = {
    "wrn28_10": {"name": "wide_resnet", "depth": 28, "width": 10},
    "wrn16_4": {"name": "wide_resnet", "depth": 16, "width": 4},
    "resnet18": {"name": "resnet18"},
    "wrn10_1": {"name": "wide_resnet", "depth": 10, "width": 1},
    "small_cnn": {"name": "small_cnn", "width": 16},
    "mlp": {"name": "mlp", "width": 256},
}
# Augmentation in the step: (crop_pad, flip, augment.name). All but the first crop and flip, as
# training does.
AUGMENTATIONS = {
    "none": (0, False, "none"),
    "crop_flip": (4, True, "none"),
    "augmix": (4, True, "augmix"),
    "mixup": (4, True, "mixup"),
    "randaugment": (4, True, "randaugment"),
    "adversarial": (4, True, "adversarial"),
}
SIDE, NUM_CLASSES = 32, 10


def hardware() -> str:
    """Describes the devices and the version of JAX."""
    device = jax.devices()[0]
    name = harness.processor() if device.platform == "cpu" else device.device_kind
    return f"jax {jax.__version__}, {jax.device_count()} x {name}"


def noise(num: int) -> Dataset:
    """Makes a data set of ``num`` random images, uint8 [num, 32, 32, 3]."""
    rng = np.random.default_rng(0)
    split = Split(
        input=rng.integers(0, 256, (num, SIDE, SIDE, 3), dtype=np.uint8),
        label=rng.integers(0, NUM_CLASSES, num).astype(np.int32),
        distance=None,
        index=np.arange(num),
    )
    grey = np.full(3, 0.5, np.float32)
    return Dataset("noise", split, split, split, NUM_CLASSES, None, mean=grey, std=grey / 2)


def make_experiment(
    model: str, augment: str, dataset: Dataset, **changes: Any
) -> experiment_lib.Experiment:
    """Makes the experiment of a run; ``changes`` are config fields with ``__`` for dots."""
    config = base.base()
    crop_pad, flip, name = AUGMENTATIONS[augment]
    fields = {f"model.{field}": value for field, value in MODELS[model].items()}
    fields |= {"crop_pad": crop_pad, "flip": flip, "augment.name": name}
    fields |= {field.replace("__", "."): value for field, value in changes.items()}
    config.update_from_flattened_dict(fields)
    return experiment_lib.create(config, dataset, input_pipeline.make_mesh())


def jitted_steps(experiment: experiment_lib.Experiment) -> jax.stages.Wrapped:
    """Jits ``train_steps`` as ``epochs.py`` does."""
    return jax.jit(
        functools.partial(train_step.train_steps, experiment=experiment),
        static_argnames="num_steps",
        donate_argnames="state",
        out_shardings=NamedSharding(experiment.mesh, PartitionSpec()),
    )


def measure(
    model: str, *, dtype: str, batch_size: int, augment: str, steps: int, repeats: int
) -> dict[str, Any]:
    """Measures images per second of the training step.

    Args:
      model: name in MODELS.
      dtype: dtype of activations.
      batch_size: images per step.
      augment: name in AUGMENTATIONS.
      steps: steps per dispatch; several are one ``lax.scan``.
      repeats: number of timed dispatches.
    """
    dataset = noise(steps * batch_size)
    experiment = make_experiment(model, augment, dataset, dtype=dtype, batch_size=batch_size)
    state = processes.replicate(
        experiment_lib.init_state(experiment, 0, (SIDE, SIDE, 3)), experiment.mesh
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    whole = input_pipeline.put_split(dataset.train, experiment.mesh)
    order = input_pipeline.epoch_order(0, 0, steps * batch_size)
    run = jitted_steps(experiment)
    key, first = jax.random.key(0), jnp.int32(0)
    start = time.perf_counter()
    compiled = run.lower(state, whole, order, key, first, num_steps=steps).compile()
    compiling = time.perf_counter() - start
    held = {"state": state, "metrics": None}

    def dispatch() -> None:
        state, metrics = compiled(held["state"], whole, order, key, first)
        held.update(state=state, metrics=jax.block_until_ready(metrics))

    timing = harness.time_calls(dispatch, repeats)
    memory = compiled.memory_analysis()
    return {
        "images_per_second": batch_size * steps / timing.wall,
        "images_per_cpu_second": batch_size * steps / timing.cpu,
        "step_ms": 1e3 * timing.wall / steps,
        "compile_seconds": compiling,
        "parameters": parameters,
        "memory_gib": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**30,
        "loss": float(held["metrics"].loss[-1] / batch_size),
        "hardware": hardware(),
        "load": harness.load(),
    }


def count(model: str) -> dict[str, Any]:
    """Counts the multiply-adds of one image's forward pass, here and by XLA."""
    experiment = make_experiment(model, "none", noise(128))
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)

    def forward(variables: Any, image: jax.Array) -> jax.Array:
        return experiment.model.apply(variables, image, train=False)

    variables = jax.eval_shape(lambda image: experiment.model.init(jax.random.key(0), image), image)
    analysis = jax.jit(forward).lower(variables, image).cost_analysis()
    return {
        "multiply_adds": multiply_adds(jax.make_jaxpr(forward)(variables, image).jaxpr),
        # Excludes products with the padded border, and includes all additions of batch norm.
        "xla_multiply_adds": analysis["flops"] / 2,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
    }


def multiply_adds(jaxpr: Any) -> int:
    """Counts products in the convolutions and matrix products of a program, with padding."""
    total = 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += out.size * int(np.prod(kernel)) // kernel[features]
        elif equation.primitive.name == "dot_general":
            shape = equation.invars[0].aval.shape
            summed = equation.params["dimension_numbers"][0][0]
            total += out.size * int(np.prod([shape[axis] for axis in summed]))
        inner = (getattr(value, "jaxpr", None) for value in equation.params.values())
        total += sum(multiply_adds(program) for program in inner if hasattr(program, "eqns"))
    return total


def matrix_product(size: int, dtype: str, repeats: int) -> dict[str, Any]:
    """Measures TFLOP/s of a product of two large random matrices, used as the peak."""
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (size, size), jnp.float32).astype(dtype) for key in keys)
    product = jax.jit(lambda a, b: a @ b)
    in_a_row = 10 if size >= 4096 else 1

    def call() -> None:
        for _ in range(in_a_row):
            out = product(a, b)
        out.block_until_ready()

    timing = harness.time_calls(call, repeats, warmup=2)
    work = in_a_row * 2 * size**3 / 1e12
    return {
        "tflops": work / timing.wall,
        "cpu_tflops": work / timing.cpu,
        "size": size,
        "hardware": hardware(),
        "load": harness.load(),
    }
