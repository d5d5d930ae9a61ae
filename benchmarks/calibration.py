"""What AutoLabel itself costs: the calibration pass and the label look-up.

    python -m benchmarks.calibration                                   # small_cnn, two cores
    python -m benchmarks.calibration --device=gpu --model=wrn28_10 --out=calibration.jsonl

The pass takes every held-out image through every bucket. Its floor is that
many forward passes in inference mode at the same, full batch size, on images
that are augmented already. The look-up (distance → bucket → soft label) is
timed alone, a thousand times in one dispatch, and told as a share of the
training step. An epoch has nine training images for each held-out one
(calibration.fraction = .1), and one pass. A second table has the pass of
AugMix over numbers of buckets and of images.
"""

import argparse
import functools
import os
import tempfile

from benchmarks import harness

AUGMENTATIONS = ("none", "augmix", "mixup", "randaugment", "adversarial")
TRAIN_PER_CALIBRATION = 9
LOOK_UPS = 1000
DEFAULTS = {
    "cpu": {
        "model": "small_cnn",
        "dtype": "float32",
        "images": 500,
        "batch_size": 64,
        "eval_batch_size": 250,
        "steps": 1,
        "buckets": 10,
        "augment": ",".join(AUGMENTATIONS),
    },
    "gpu": {
        "model": "resnet18",
        "dtype": "bfloat16",
        "images": 5000,
        "batch_size": 512,
        "eval_batch_size": 1000,
        "steps": 20,
        "buckets": 10,
        "augment": "augmix,mixup,randaugment",
    },
}
TINY = {"images": 64, "batch_size": 16, "eval_batch_size": 64, "buckets": 2, "augment": "mixup"}


def measure(augment: str, arguments: argparse.Namespace, *, step_too: bool = True, **changes):
    """Seconds of the pass, its floor, a training step and a look-up.

    Args:
      augment: name in train_step_jax.AUGMENTATIONS.
      arguments: of the command line.
      step_too: whether to time the training step and the look-up.
      changes: ``images`` and ``buckets`` in place of the command line's.
    """
    import jax
    import jax.numpy as jnp

    from autolabel_jax import calibration_step, image_ops, input_pipeline, task
    from benchmarks import train_step_jax as own

    images = changes.get("images", arguments.images)
    batch, eval_batch = arguments.batch_size, arguments.eval_batch_size
    dataset = own.noise(max(images, arguments.steps * batch))
    parts = own.make_task(
        arguments.model,
        "crop_flip" if augment == "none" else augment,
        dataset,
        dtype=arguments.dtype,
        batch_size=batch,
        eval_batch_size=eval_batch,
        buckets__num=changes.get("buckets", arguments.buckets),
    )
    state = task.init_state(parts, 0, (own.SIDE, own.SIDE, 3))
    held_out = jax.tree.map(
        lambda x: x[:images], input_pipeline.put_split(dataset.calibration, parts.mesh)
    )
    batches = parts.num_buckets * len(input_pipeline.padded_rows(held_out, eval_batch, parts.mesh))
    step = jax.jit(functools.partial(calibration_step.calibration_step, task=parts))
    key = jax.random.key(0)

    def calibrate():
        stats = calibration_step.calibrate(state, held_out, key, step=step, task=parts)
        jax.block_until_ready(stats)

    image = image_ops.to_float(held_out.image[: min(eval_batch, images)])
    forward = jax.jit(functools.partial(parts.model.apply, train=False))
    variables = task.inference_variables(state)

    def floor():
        for _ in range(batches):
            logits = forward(variables, image)
        logits.block_until_ready()

    repeats = arguments.repeats
    found = {
        "num_buckets": parts.num_buckets,
        "pass": vars(harness.time_calls(calibrate, repeats)),
        "floor": vars(harness.time_calls(floor, repeats)),
        "hardware": own.hardware(),
        "load": harness.load(),
    }
    if not step_too:
        return found
    whole = input_pipeline.put_split(dataset.train, parts.mesh)
    order = input_pipeline.epoch_order(0, 0, len(dataset.train.label))
    found["look_up"] = look_up(parts, state.labels, batch, repeats)
    steps = own.jitted_steps(parts)
    held = {"state": state}  # donated

    def train():
        new, metrics = steps(
            held["state"], whole, order, key, jnp.int32(0), num_steps=arguments.steps
        )
        held["state"] = new
        jax.block_until_ready(metrics)

    # The state that a step returns may be laid out otherwise than the first: two programs.
    inner = 1 if arguments.steps > 1 else 5
    timing = harness.time_calls(train, repeats, inner=inner, warmup=2)
    found["step"] = {name: value / arguments.steps for name, value in vars(timing).items()}
    return found


def look_up(parts, labels, batch_size: int, repeats: int) -> dict[str, float]:
    """Seconds from the distances of a batch to its soft labels."""
    import jax
    import jax.numpy as jnp

    from autolabel_jax import buckets

    distance = parts.augmentation.draw(jax.random.key(0), batch_size)
    label = jnp.arange(batch_size, dtype=jnp.int32) % parts.num_classes
    weight = distance.value / 2

    @jax.jit
    def many(labels, distance, label, weight):
        def one(before, _):
            # What went before is a part of the next, so that none is left out.
            moved = distance.replace(value=distance.value + 1e-12 * before[:, 0])
            soft_label = parts.rule.soft_labels(
                labels,
                label,
                buckets.bucket_index(moved, parts.edges),
                num_classes=parts.num_classes,
                distance=moved,
                second_label=label,
                second_weight=weight,
            )
            return soft_label, None

        first = jnp.zeros((batch_size, parts.num_classes))
        return jax.lax.scan(one, first, None, length=LOOK_UPS)[0]

    def call():
        many(labels, distance, label, weight).block_until_ready()

    timing = harness.time_calls(call, repeats)
    return {name: value / LOOK_UPS for name, value in vars(timing).items()}


def tables(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Everything that the file holds of these settings."""
    clock = "cpu" if arguments.device == "cpu" else "wall"
    rows = []
    for augment in harness.chosen(AUGMENTATIONS, arguments.augment):
        line = recorder.result(**key(arguments, augment))
        if line is None:
            continue
        calibrating, floor, step = line["pass"][clock], line["floor"][clock], line["step"][clock]
        num_steps = TRAIN_PER_CALIBRATION * arguments.images / arguments.batch_size
        epoch = num_steps * step
        rows.append(
            (
                augment,
                str(line["num_buckets"]),
                f"{calibrating:.3g}",
                f"{floor:.3g}",
                f"{calibrating / floor:.2f}",
                f"{100 * calibrating / (epoch + calibrating):.1f} %",
                f"{1e3 * step:.3g}",
                f"{1e6 * line['look_up'][clock]:.3g}",
                f"{100 * line['look_up'][clock] / step:.3f} %",
            )
        )
    seconds = "CPU-s" if clock == "cpu" else "s"
    harness.print_table(
        (
            f"{arguments.model}, {arguments.images} images",
            "buckets",
            f"pass, {seconds}",
            "floor",
            "ratio",
            "of an epoch",
            "step, ms",
            "look-up, µs",
            "of a step",
        ),
        rows,
    )
    rows = []
    for changes in growth(arguments):
        line = recorder.result(**key(arguments, "augmix", **changes))
        if line:
            calibrating, floor = line["pass"][clock], line["floor"][clock]
            rows.append(
                (
                    f"{changes['images']}",
                    f"{line['num_buckets']}",
                    f"{calibrating:.3g}",
                    f"{calibrating / floor:.2f}",
                    f"{1e6 * calibrating / line['num_buckets'] / changes['images']:.3g}",
                )
            )
    print()
    header = ("augmix: images", "buckets", f"pass, {seconds}", "ratio", "µs a bucket and image")
    harness.print_table(header, rows)


def key(arguments: argparse.Namespace, augment: str, **changes) -> dict:
    """Of a measurement; ``changes`` as in ``measure``."""
    fields = ("model", "dtype", "images", "batch_size", "eval_batch_size", "buckets")
    settings = {field: getattr(arguments, field) for field in fields} | changes
    return settings | {"augment": augment, "what": "growth" if changes else "pass"}


def growth(arguments: argparse.Namespace) -> list[dict[str, int]]:
    """Numbers of images and of buckets, around the command line's."""
    images, buckets = arguments.images, arguments.buckets
    return [
        {"images": images // 2, "buckets": buckets},
        {"images": images, "buckets": buckets // 2},
        {"images": images, "buckets": buckets},
        {"images": images, "buckets": 2 * buckets},
        {"images": 2 * images, "buckets": buckets},
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--model", help="small_cnn, resnet18, wrn16_4, wrn28_10")
    parser.add_argument("--augment", help=f"of {', '.join(AUGMENTATIONS)}; '': all")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, help="held-out images")
    parser.add_argument("--buckets", type=int, help="config.buckets.num")
    parser.add_argument("--batch_size", type=int, help="of training")
    parser.add_argument("--eval_batch_size", type=int, help="of the pass")
    parser.add_argument("--steps", type=int, help="training steps in a dispatch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after")
    parser.add_argument("--out", help="JSON lines; kept between runs")
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    defaults = DEFAULTS[arguments.device] | (TINY if arguments.tiny else {})
    for field, value in defaults.items():
        if getattr(arguments, field) is None:
            setattr(arguments, field, value)
    os.environ["JAX_PLATFORMS"] = "cpu" if arguments.device == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as folder:
        recorder = harness.Recorder(
            arguments.out or f"{folder}/calibration.jsonl", arguments.seconds
        )
        for augment in harness.chosen(AUGMENTATIONS, arguments.augment):
            recorder.run(key(arguments, augment), functools.partial(measure, augment, arguments))
        for changes in growth(arguments) if not arguments.tiny else ():
            # Arrays of another number of images are another program to compile.
            run = functools.partial(measure, "augmix", arguments, step_too=False, **changes)
            recorder.run(key(arguments, "augmix", **changes), run)
        hardware = {line["hardware"] for line in recorder.lines() if "hardware" in line}
        print("\n" + "; ".join(sorted(hardware)) + "; " + harness.load() + "\n")
        tables(arguments, recorder)


if __name__ == "__main__":
    main()
