"""Seconds of whole runs of several seeds: in one program against one after another, in turns.

    python -m benchmarks.seed_runs                              # digits with AugMix, five seeds
    python -m benchmarks.seed_runs --epochs=30 --turns=3       # fewer epochs

Both sides train the same config with the same seeds in this process, turn by turn, and leave
all that a run leaves. "Whole" is the wall clock of all seeds: data, tracing, training, figures
and files, with programs found on disk; the first turn, which compiles them, stands apart.
"An epoch" is that of all seeds in metrics.jsonl, the median without a run's first, so
without start and compilation; "its steps" are the part of it before calibration. The ratio is
"one after another" over "one program": above 1, --vmap_seeds pays.
"""

import argparse
import contextlib
import importlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence

import jax
from ml_collections import ConfigDict

from autolabel_jax import metric_writer, train, train_seeds
from benchmarks import harness

MEASURED = ("whole", "an epoch", "its steps")


def one_after_another(configs: Sequence[ConfigDict], folders: Sequence[pathlib.Path]) -> None:
    for config, folder in zip(configs, folders, strict=True):
        train.train(config, folder, progress=False)


def one_program(configs: Sequence[ConfigDict], folders: Sequence[pathlib.Path]) -> None:
    train_seeds.train_seeds(configs, folders, progress=False)


SIDES = {"one after another": one_after_another, "one program": one_program}


@contextlib.contextmanager
def programs_on_disk() -> Iterator[None]:
    """Each turn finds what the first has compiled: in $JAX_COMPILATION_CACHE_DIR, or for now."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        for name, value in zip(names, (before[0] or folder, 0), strict=True):
            jax.config.update(name, value)
        yield
        for name, value in zip(names, before, strict=True):
            jax.config.update(name, value)


def measure(side: str, configs: Sequence[ConfigDict]) -> dict[str, float]:
    """Seconds of all seeds."""
    with tempfile.TemporaryDirectory() as root:
        folders = [pathlib.Path(root) / str(config.seed) for config in configs]
        start = time.perf_counter()
        SIDES[side](configs, folders)
        whole = time.perf_counter() - start
        lines = [metric_writer.read_metrics(folder) for folder in folders]
    images = lines[0][0]["step"] * configs[0].batch_size  # of an epoch and a seed
    # A line of seeds in one program has its share of their seconds, and the rate of them all.
    steps = ([images / line["images_per_second"] for line in own[1:]] for own in lines)
    epochs = ([line["seconds"] for line in own[1:]] for own in lines)
    return {
        "whole": whole,
        "an epoch": sum(map(statistics.median, epochs)),
        "its steps": sum(map(statistics.median, steps)),
    }


def table(found: dict[str, list[dict[str, float]]]) -> None:
    """Medians over the turns that are done, the first one apart."""
    rows = []
    for name in ("first, with compilation", *MEASURED):
        of_first = name not in MEASURED
        seconds = [
            turns[0]["whole"]
            if of_first
            else statistics.median(turn[name] for turn in turns[1:] or turns)
            for turns in found.values()
        ]
        ratio = f"{seconds[0] / seconds[1]:.2f}"
        rows.append((name, *(f"{second:.3g}" for second in seconds), ratio))
    harness.print_table(("seconds of all seeds", *SIDES, "ratio"), rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="digits_augmix", help="file in configs/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="in place of the config's, at least 2")
    parser.add_argument("--turns", type=int, default=4, help="of each side; the first compiles")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no turn after")
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        arguments.seeds, arguments.epochs, arguments.turns = 2, 2, 1
    module = importlib.import_module(f"configs.{arguments.config}")
    configs = [
        module.get_config("tiny" if arguments.tiny else None) for _ in range(arguments.seeds)
    ]
    for seed, config in enumerate(configs):
        config.seed, config.epochs = seed, arguments.epochs or config.epochs
        if arguments.tiny:
            config.augment.name = "none"  # which compiles in seconds
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {jax.device_count()} x {device.device_kind}, {harness.load()}")
    print(f"{harness.processor()}; {arguments.config}, {configs[0].epochs} epochs", flush=True)
    began, found = time.monotonic(), {side: [] for side in SIDES}
    with programs_on_disk():
        for turn in range(arguments.turns):
            if time.monotonic() - began > arguments.seconds:
                print("the rest left out, out of time")
                break
            for side, turns in found.items():
                turns.append(measure(side, configs))
                print(f"turn {turn}, {side}: {turns[-1]}", flush=True)
    print()
    table(found)


if __name__ == "__main__":
    main()
