"""Compares the training step with PyTorch, and measures the cost of augmentation in the step.

    python -m benchmarks.train_step --device=gpu --out=train_step.jsonl
    python -m benchmarks.train_step --device=cpu --only=resnet18,wrn16_4

Each framework runs in its own process. Every measurement is written to --out as one line when it
is done, and running the same command again skips the lines that the file holds. PyTorch's step is
channels-last, under autocast, eager, through torch.compile, and (on a GPU) with CUDA graphs; ours
is ``train_steps`` with --steps steps per dispatch. Networks, optimiser, batch (rows of uint8
images on the device) and soft labels are the same. The comparison has no augmentation; its cost is
the time of our step with it minus the time without.

TFLOP/s count 6 x the multiply-adds of a forward pass, as is usual for a training step, and are
compared with a large matrix product timed in the same run. On a CPU the tables use processor time
instead of wall-clock time.
"""

import argparse
import importlib.util
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import harness

# Published parameters and multiply-adds per image.
TABLE = {"wrn28_10": (36.5e6, 5.24e9), "wrn16_4": (2.7e6, 0.39e9), "resnet18": (11.2e6, 0.56e9)}
AUGMENTATIONS = ("none", "augmix", "randaugment", "crop_flip")
MODES = ("compiled", "graphs", "eager")  # PyTorch's
# A wide_resnet of depth 10 on batches of 8, which takes seconds.
TINY = {
    "only": "wrn10_1",
    "batch_sizes": "8",
    "steps": 1,
    "repeats": 2,
    "product": 128,
    "augment": "none,augmix",
    "modes": "eager",
}
DEFAULTS = {
    "cpu": {
        "only": "wrn28_10,resnet18,wrn16_4",
        "batch_sizes": "32",
        "dtype": "float32",
        "steps": 1,
        "repeats": 3,
        "product": 1024,
        "augment": "",
        "modes": "compiled,eager",
    },
    "gpu": {
        "only": "wrn28_10,resnet18,wrn16_4",
        "batch_sizes": "512",
        "dtype": "bfloat16",
        "steps": 20,
        "repeats": 5,
        "product": 8192,
        "augment": "",
        "modes": "",
    },
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line; None reads ``sys.argv``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--framework", choices=("all", "jax", "torch"), default="all")
    parser.add_argument("--only", help="networks, comma-separated")
    parser.add_argument("--augment", help=f"some of: {', '.join(AUGMENTATIONS)} (empty = all)")
    parser.add_argument("--modes", help=f"some of: {', '.join(MODES)} (empty = all)")
    parser.add_argument("--batch_sizes", help="comma-separated")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, help="steps per dispatch, or between synchronisations")
    parser.add_argument("--repeats", type=int, help="number of timed dispatches")
    parser.add_argument("--product", type=int, help="side of the matrices that measure the peak")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no measurement after this time"
    )
    parser.add_argument("--out", help="file of JSON lines that later runs extend")
    parser.add_argument(
        "--cache", default="", help="folder of JAX's compilation cache (empty = none)"
    )
    parser.add_argument("--tiny", action="store_true", help="run in seconds, to test the benchmark")
    arguments = parser.parse_args(argv)
    defaults = DEFAULTS[arguments.device] | (TINY if arguments.tiny else {})
    for field, value in defaults.items():
        if getattr(arguments, field) is None:
            setattr(arguments, field, value)
    return arguments


def keys(arguments: argparse.Namespace, **fields: str) -> list[dict[str, Any]]:
    """Returns a key per batch size and network, in the order of the command line."""
    return [
        {"model": model, "dtype": arguments.dtype, "batch_size": int(size)} | fields
        for size in arguments.batch_sizes.split(",")
        for model in arguments.only.split(",")
    ]


def run_jax(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Makes the measurements of this project."""
    os.environ["JAX_PLATFORMS"] = "cpu" if arguments.device == "cpu" else "cuda"
    if arguments.cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = arguments.cache
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    from benchmarks import train_step_jax as own  # after the environment is set

    peak = {"framework": "jax", "what": "product", "dtype": arguments.dtype}
    recorder.run(
        peak, lambda: own.matrix_product(arguments.product, arguments.dtype, arguments.repeats)
    )
    for model in arguments.only.split(","):
        recorder.run(
            {"framework": "jax", "what": "count", "model": model}, lambda m=model: own.count(m)
        )
    for augment in harness.chosen(AUGMENTATIONS, arguments.augment):
        for key in keys(arguments, framework="jax", what="step", augment=augment):
            recorder.run(
                key,
                lambda key=key: own.measure(
                    key["model"],
                    dtype=key["dtype"],
                    batch_size=key["batch_size"],
                    augment=key["augment"],
                    steps=arguments.steps,
                    repeats=arguments.repeats,
                ),
            )


def run_torch(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Makes the measurements of PyTorch."""
    if importlib.util.find_spec("torch") is None:
        print("torch: not installed; pip install -r requirements-bench.txt", flush=True)
        return
    from benchmarks import train_step_torch as peer  # in a process without JAX

    device = "cuda" if arguments.device == "gpu" else "cpu"
    recorder.run(
        {"framework": "torch", "what": "product", "dtype": arguments.dtype},
        lambda: peer.matrix_product(arguments.product, arguments.dtype, device, arguments.repeats),
    )
    for mode in harness.chosen(MODES, arguments.modes):
        for key in keys(arguments, framework="torch", what="step", mode=mode):
            recorder.run(
                key,
                lambda key=key: peer.measure(
                    key["model"],
                    dtype=key["dtype"],
                    batch_size=key["batch_size"],
                    mode=key["mode"],
                    device=device,
                    steps=arguments.steps,
                    repeats=arguments.repeats,
                ),
            )


def tables(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Prints all results of the chosen networks that the file holds."""
    hardware = {line["hardware"] for line in recorder.lines() if "hardware" in line}
    loads = [float(line["load"].split()[1]) for line in recorder.lines() if "load" in line]
    print("\n" + "; ".join(sorted(hardware)))
    if loads:
        print(f"load average during the run: {min(loads)} to {max(loads)}")
    print("a second below is one of the " + ("processor" if on_cpu(arguments) else "wall clock"))
    products = [
        recorder.result(framework=name, what="product", dtype=arguments.dtype)
        for name in ("jax", "torch")
    ]
    clock = "cpu_tflops" if on_cpu(arguments) else "tflops"
    peak = max((product[clock] for product in products if product), default=math.nan)
    side = arguments.product
    print(f"peak: {peak:.3g} TFLOP/s, a {arguments.dtype} matrix product of side {side}\n")
    against(arguments, recorder, peak)
    print()
    counts(arguments, recorder)
    print()
    costs(arguments, recorder)


def on_cpu(arguments: argparse.Namespace) -> bool:
    """Whether the tables use processor time."""
    return arguments.device == "cpu"


def per_second(arguments: argparse.Namespace, line: dict[str, Any]) -> float:
    """Returns images per second, of processor time on a CPU: other work disturbs it less."""
    return line["images_per_cpu_second" if on_cpu(arguments) else "images_per_second"]


def against(arguments: argparse.Namespace, recorder: harness.Recorder, peak: float) -> None:
    """Prints the comparison with PyTorch."""
    rows = []
    for key in keys(arguments, what="step"):
        count = recorder.result(what="count", model=key["model"])
        work = 6 * count["multiply_adds"] if count else math.nan
        lines = {"jax, ours": recorder.result(**key, framework="jax", augment="none")}
        for mode in MODES:
            lines[f"torch {mode}"] = recorder.result(**key, framework="torch", mode=mode)
        lines = {name: line for name, line in lines.items() if line}
        speeds = {name: per_second(arguments, line) for name, line in lines.items()}
        torch = [speed for name, speed in speeds.items() if name.startswith("torch")]
        fastest = max(torch, default=math.nan)
        for name, line in lines.items():
            tflops = work * speeds[name] / 1e12
            rows.append(
                (
                    f"{key['model']}, batch {key['batch_size']}, {key['dtype']}: {name}",
                    f"{line['parameters']:,}",
                    f"{speeds[name]:,.{0 if speeds[name] > 100 else 1}f}",
                    f"{1e3 * key['batch_size'] / speeds[name]:,.2f}",
                    f"{tflops:.3g}",
                    f"{100 * tflops / peak:.0f} %",
                    f"{speeds[name] / fastest:.2f}",
                    f"{line['compile_seconds']:.0f}",
                )
            )
    header = ("step", "parameters", "images/s", "ms", "TFLOP/s", "of peak", "ratio", "compile s")
    harness.print_table(header, rows)
    print("ratio: to the fastest of PyTorch's")


def counts(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Prints parameters and multiply-adds of the networks beside the published ones."""
    rows = []
    for model in arguments.only.split(","):
        count = recorder.result(what="count", model=model)
        parameters, known = TABLE.get(model, (math.nan, math.nan))
        if count:
            sizes = (count["parameters"], parameters)
            products = (count["multiply_adds"], count["xla_multiply_adds"], known)
            rows.append(
                (
                    model,
                    *(f"{number / 1e6:.2f}" for number in sizes),
                    *(f"{number / 1e6:,.1f}" for number in products),
                )
            )
    header = ("millions", "parameters", "published", "multiply-adds", "by XLA", "published")
    harness.print_table(header, rows)


def costs(arguments: argparse.Namespace, recorder: harness.Recorder) -> None:
    """Prints the cost of augmentation in our step."""
    rows = []
    for key in keys(arguments, framework="jax", what="step"):
        bare = recorder.result(**key, augment="none")
        for augment in AUGMENTATIONS[1:]:
            line = recorder.result(**key, augment=augment)
            if line and bare:
                speed, bare_speed = per_second(arguments, line), per_second(arguments, bare)
                more = 1e3 * key["batch_size"] * (1 / speed - 1 / bare_speed)
                rows.append(
                    (
                        f"{key['model']}, batch {key['batch_size']}: {augment}",
                        f"{speed:,.{0 if speed > 100 else 1}f}",
                        f"{more:.2f}",
                        f"{100 * (bare_speed / speed - 1):.1f} %",
                    )
                )
    harness.print_table(("augmentation in the step", "images/s", "ms more", "cost"), rows)
    print("cost: time over that of the step without augmentation; all of these crop and flip too")


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    with tempfile.TemporaryDirectory() as folder:
        arguments.out = arguments.out or f"{folder}/train_step.jsonl"
        recorder = harness.Recorder(arguments.out, arguments.seconds)
        if arguments.framework == "all":
            given = sys.argv[1:] if argv is None else argv
            for name in ("jax", "torch"):
                command = [sys.executable, "-m", "benchmarks.train_step", *given]
                command += [f"--framework={name}", f"--out={arguments.out}"]
                root = pathlib.Path(__file__).parents[1]
                code = subprocess.run(command, cwd=root, check=False).returncode
                if code:
                    print(f"{name}: ended with {code}", flush=True)
            tables(arguments, recorder)
        elif arguments.framework == "jax":
            run_jax(arguments, recorder)
        else:
            run_torch(arguments, recorder)


if __name__ == "__main__":
    main()
