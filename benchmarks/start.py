"""Seconds from the command to the first training step, with and without compiled programs on disk.

    python -m benchmarks.start                                        # digits, three repeats
    python -m benchmarks.start --config=configs/cifar10_resnet18.py --data_dir=… --repeats=1

Each start is ``python -m experiments.train`` in a process of its own. "Cold"
begins with an empty --compilation_cache_dir, "warm" with the one that the cold
start has filled; the step counts once the run says that its program is
compiled and running. "End" is that of one whole epoch
with its calibration and evaluation. Medians, and the spread.

    python -m benchmarks.start --imports --repeats=9

measures what importing ``experiments.train`` costs beside the libraries that it cannot do
without, in processor time of a process of its own; the two in turns, medians.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import harness

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMPILED = b"compiled in"  # said after the first step


def start(config: str, extra: list[str], cache: pathlib.Path) -> tuple[float, float]:
    """Seconds to the first step and to the end of a run of one epoch."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "experiments.train", f"--config={config}"]
        command += [f"--workdir={workdir}/run", f"--compilation_cache_dir={cache}"]
        began, first, told = time.perf_counter(), None, b""
        process = subprocess.Popen(
            [*command, "--config.epochs=1", *extra],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while piece := process.stderr.read1():
            told += piece
            if first is None and COMPILED in told:
                first = time.perf_counter() - began
        if process.wait() or first is None:
            raise RuntimeError(
                f"{' '.join(command)} failed: {told[-500:].decode(errors='replace')}"
            )
        return first, time.perf_counter() - began


LIBRARIES = "jax, flax, optax, orbax.checkpoint"
PROGRAM = "experiments.train"


def import_seconds(names: str) -> float:
    """Processor time, user and system, of a process that imports some modules."""
    process = subprocess.Popen([sys.executable, "-c", f"import {names}"], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"importing {names} failed")
    return usage.ru_utime + usage.ru_stime


def compare_imports(repeats: int) -> None:
    """Prints the medians of both, and their ratio."""
    seconds = {LIBRARIES: [], PROGRAM: []}
    for place in range(repeats + 1):
        for names, measured in seconds.items():
            spent = import_seconds(names)
            measured += [spent] if place else []  # the first fills the cache of files
    medians = {names: statistics.median(measured) for names, measured in seconds.items()}
    rows = [
        (names, f"{medians[names]:.2f}", f"{min(measured):.2f} to {max(measured):.2f}")
        for names, measured in seconds.items()
    ]
    print(f"{harness.processor()}; {harness.load()}\n")
    harness.print_table(("import", "processor time, s", "spread"), rows)
    print(f"\nratio {medians[PROGRAM] / medians[LIBRARIES]:.2f}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="configs/digits_augmix.py")
    parser.add_argument("--data_dir", help="of the data sets")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--imports", action="store_true", help="measure imports alone")
    arguments, extra = parser.parse_known_args(argv)
    if arguments.imports:
        compare_imports(arguments.repeats)
        return
    extra += [f"--data_dir={arguments.data_dir}"] if arguments.data_dir else []
    seconds = {"cold": [], "warm": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for kind, found in seconds.items():
                found.append(start(arguments.config, extra, pathlib.Path(cache)))
                print(f"{kind}: {found[-1][0]:.1f} s to the first step", flush=True)
    print(f"\n{harness.processor()}; {harness.load()}; {arguments.config}\n")
    rows = []
    for kind, found in seconds.items():
        firsts, ends = zip(*found, strict=True)
        spread = f"{min(firsts):.1f} to {max(firsts):.1f}"
        rows.append(
            (kind, f"{statistics.median(firsts):.1f}", spread, f"{statistics.median(ends):.1f}")
        )
    harness.print_table(("start", "first step, s", "spread", "end, s"), rows)


if __name__ == "__main__":
    main()
