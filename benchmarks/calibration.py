"""Measures the cost of AutoLabel itself: calibration between epochs, and the label look-up.

    python -m benchmarks.calibration                                   # small_cnn, two cores
    python -m benchmarks.calibration --device=gpu --model=wrn28_10 --out=calibration.jsonl

By default, some held-out images visit some buckets after each epoch (``calibration.share``). The
full pass (``calibration.exact``) evaluates every held-out image in every bucket. Its floor is the
same number of forward passes in inference mode at the same batch size, on images that are already
augmented. The look-up (distance → bucket → soft label) is timed alone, a thousand times in one
dispatch, and in training: steps with AutoLabel and with one-hot labels alternate, and the table
shows the difference of their medians. An epoch has nine training images per held-out one
(calibration.fraction = .1) and one update of the labels, from visits or from a pass. The clean
metrics of the held-out images, which runs with any label rule log, are not counted. The last table
shows the pass of AugMix for several numbers of buckets and images. All programs are compiled before
the first is timed: those of the first augmentation alone, then the others in parallel.
"""

import argparse
import concurrent.futures
import functools
import tempfile
from typing import Any

import jax

from benchmarks import calibration_calls, harness, label_cost
from benchmarks import train_step_jax as own
from benchmarks.calibration_calls import Calls, make_calls

# The first is compiled alone, and its autotuning results serve the others.
AUGMENTATIONS = ("augmix", "none", "mixup", "randaugment", "adversarial")
DEFAULTS = {
    "cpu": {
        "model": "small_cnn",
        "dtype": "float32",
        "images": 500,
        "adversarial_images": 500,
        "batch_size": 64,
        "eval_batch_size": 250,
        "steps": 1,
        "turns": 20,
        "buckets": 10,
        "augment": ",".join(AUGMENTATIONS),
        "step_of": ",".join(AUGMENTATIONS),
    },
    "gpu": {
        "model": "resnet18",
        "dtype": "bfloat16",
        "images": 5000,
        "adversarial_images": 1000,
        "batch_size": 512,
        "eval_batch_size": 1000,
        "steps": 20,
        "turns": 30,
        "buckets": 10,
        "augment": ",".join(AUGMENTATIONS),
        "step_of": "augmix",
    },
}
TINY = {
    "images": 64,
    "adversarial_images": 64,
    "batch_size": 16,
    "eval_batch_size": 64,
    "turns": 2,
    "buckets": 2,
    "augment": "mixup",
    "step_of": "mixup",
}


def measure(
    calls: Calls, images: int, arguments: argparse.Namespace, *, steps: bool = True
) -> dict[str, Any]:
    """Times visits, the pass and its floor and, with ``steps``, a training step and a look-up."""
    repeats = arguments.repeats
    result = {
        "num_buckets": calls.experiment.num_buckets,
        "pass": vars(harness.time_calls(lambda: calls.calibrate(images), repeats)),
        "floor": vars(harness.time_calls(lambda: calls.floor(images), repeats)),
        "hardware": own.hardware(),
        "load": harness.load(),
    }
    if steps:
        result["num_visits"] = calls.num_visits
        result["visits"] = vars(harness.time_calls(calls.visit, repeats))
    if calls.train and steps:
        timing = harness.time_calls(calls.look_up, repeats)
        result["look_up"] = {
            name: value / label_cost.LOOK_UPS for name, value in vars(timing).items()
        }
        result["step"] = label_cost.in_turns(calls.train, arguments)
    return result


def tables(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Prints all results of these settings that the file holds."""
    clock = "cpu" if arguments.device == "cpu" else "wall"
    seconds = "CPU-s" if clock == "cpu" else "s"
    lines = [recorder.result(**key(arguments, *setting)) for setting in passes(arguments)]
    lines = [line for line in lines if line]
    header = (arguments.model, "images", "buckets", f"pass, {seconds}", "floor", "ratio")
    harness.print_table((*header, "of an epoch"), [pass_row(line, clock) for line in lines])
    print()
    header = ("default", "images", "buckets", "visits", seconds, "of an epoch", "exact")
    harness.print_table(header, [visit_row(line, clock) for line in lines if "visits" in line])
    print()
    header = ("a training step, ms", *label_cost.RULES, "difference, µs", "quartiles", "share")
    rows = [label_cost.step_row(line, clock) for line in lines if "step" in line]
    harness.print_table((*header, "look-up alone, µs", "share"), rows)
    rows = []
    for images, buckets in growth(arguments):
        line = recorder.result(**key(arguments, "augmix", buckets, images))
        if line:
            _, _, num, calibrating, _, ratio, _ = pass_row(line, clock)
            each = 1e6 * line["pass"][clock] / line["num_buckets"] / images
            rows.append((f"{images}", num, calibrating, ratio, f"{each:.3g}"))
    print()
    header = ("augmix: images", "buckets", f"pass, {seconds}", "ratio", "µs a bucket and image")
    harness.print_table(header, rows)


def pass_row(line: dict[str, Any], clock: str) -> tuple[str, ...]:
    """Returns the cells of a pass, with its share of an epoch if steps were timed."""
    calibrating, floor, settings = line["pass"][clock], line["floor"][clock], line["key"]
    return (
        settings["augment"],
        str(settings["images"]),
        str(line["num_buckets"]),
        f"{calibrating:.3g}",
        f"{floor:.3g}",
        f"{calibrating / floor:.2f}",
        share_of_epoch(line, "pass", clock),
    )


def visit_row(line: dict[str, Any], clock: str) -> tuple[str, ...]:
    """Returns the cells of visits, with their share of an epoch beside that of a full pass."""
    return (
        line["key"]["augment"],
        str(line["key"]["images"]),
        str(line["num_buckets"]),
        str(line["num_visits"]),
        f"{line['visits'][clock]:.3g}",
        *(share_of_epoch(line, kind, clock) for kind in ("visits", "pass")),
    )


def share_of_epoch(line: dict[str, Any], kind: str, clock: str) -> str:
    """Returns the share of an epoch that 'visits' or a 'pass' take; '' without timed steps."""
    if "step" not in line:
        return ""
    settings, seconds = line["key"], line[kind][clock]
    num_steps = (
        calibration_calls.TRAIN_PER_CALIBRATION * settings["images"] / settings["batch_size"]
    )
    return f"{100 * seconds / (num_steps * line['step'][clock]['autolabel'] + seconds):.1f} %"


def key(arguments: argparse.Namespace, augment: str, buckets: int, images: int) -> dict[str, Any]:
    """Returns the key of a measurement in the file; arguments as in ``passes``."""
    fields = ("model", "dtype", "batch_size", "eval_batch_size")
    settings = {field: getattr(arguments, field) for field in fields}
    return settings | {"augment": augment, "buckets": buckets, "images": images}


def passes(arguments: argparse.Namespace) -> list[tuple[str, int, int]]:
    """Lists (augmentation, config.buckets.num, held-out images) of the first table."""
    return [
        (augment, arguments.buckets, calibration_calls.images_of(augment, arguments))
        for augment in harness.chosen(AUGMENTATIONS, arguments.augment)
    ]


def growth(arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """Lists (images, buckets) around those of the command line; images fill whole batches."""
    if arguments.tiny or "augmix" not in arguments.augment:
        return []
    images, buckets = arguments.images, arguments.buckets
    halved, doubled = buckets // 2, 2 * buckets
    sizes = [arguments.eval_batch_size, images, 2 * images]
    return [(size, buckets) for size in sizes] + [(images, halved), (images, doubled)]


def compiled(arguments: argparse.Namespace) -> dict[tuple[str, int], Calls]:
    """Makes and compiles the calls of each (augmentation, config.buckets.num)."""
    settings = dict.fromkeys((augment, buckets) for augment, buckets, _ in passes(arguments))
    settings |= dict.fromkeys(("augmix", buckets) for _, buckets in growth(arguments))
    steps = harness.chosen(AUGMENTATIONS, arguments.step_of)

    def make(augment: str, buckets: int) -> Calls:
        with_steps = augment in steps and buckets == arguments.buckets
        calls = make_calls(augment, buckets, arguments, with_steps)
        calls.compile(arguments.eval_batch_size)
        return calls

    first, *others = settings
    by_setting = {first: make(*first)}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        calls = pool.map(lambda setting: make(*setting), others)
        return by_setting | dict(zip(others, calls, strict=True))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line; None reads ``sys.argv``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--model", help="small_cnn, resnet18, wrn16_4, wrn28_10")
    parser.add_argument("--augment", help=f"some of: {', '.join(AUGMENTATIONS)} (empty = all)")
    parser.add_argument("--step_of", help="augmentations whose training step is timed too")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, help="number of held-out images")
    parser.add_argument(
        "--adversarial_images", type=int, help="number of held-out images of the adversarial pass"
    )
    parser.add_argument("--buckets", type=int, help="config.buckets.num")
    parser.add_argument("--batch_size", type=int, help="batch size of training")
    parser.add_argument("--eval_batch_size", type=int, help="batch size of the pass")
    parser.add_argument("--steps", type=int, help="training steps per dispatch")
    parser.add_argument("--turns", type=int, help="dispatches of each label rule")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no measurement after this time"
    )
    parser.add_argument("--out", help="file of JSON lines that later runs extend")
    parser.add_argument("--tiny", action="store_true", help="run in seconds, to test the benchmark")
    arguments = parser.parse_args(argv)
    defaults = DEFAULTS[arguments.device] | (TINY if arguments.tiny else {})
    for field, value in defaults.items():
        if getattr(arguments, field) is None:
            setattr(arguments, field, value)
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    jax.config.update("jax_platforms", "cpu" if arguments.device == "cpu" else "cuda")
    with tempfile.TemporaryDirectory() as folder:
        recorder = harness.Recorder(
            arguments.out or f"{folder}/calibration.jsonl", arguments.seconds
        )
        calls = compiled(arguments)
        print("compiled", flush=True)
        for setting in passes(arguments):
            run = functools.partial(measure, calls[setting[:2]], setting[2], arguments)
            recorder.run(key(arguments, *setting), run)
        for images, buckets in growth(arguments):
            run = functools.partial(
                measure, calls["augmix", buckets], images, arguments, steps=False
            )
            recorder.run(key(arguments, "augmix", buckets, images), run)
        hardware = {line["hardware"] for line in recorder.lines() if "hardware" in line}
        print("\n" + "; ".join(sorted(hardware)) + "; " + harness.load() + "\n")
        tables(arguments, recorder)


if __name__ == "__main__":
    main()
