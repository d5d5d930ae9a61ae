"""Measures images per second of every corruption, made on the device and discarded.

The table shows wall-clock time and the processor time of this process over all its threads, which
other work on the machine disturbs less. On a GPU it is the processor time of the host alone.

    python -m benchmarks.corruptions                       # 32 px, batches of 1,000
    python -m benchmarks.corruptions --size=224 --batch_size=16

There is one line per corruption: the median over severities 1, 3 and 5 of the median of
``--repeats`` timed calls, without compilation and a first call. Compilation has its own column. The
last line estimates the time of all 75 sets of 10,000 images at these speeds, without a model.
"""

import argparse
import statistics
import time

import jax
import numpy as np
from sklearn.datasets import load_sample_images

from autolabel_jax import corruptions

TIMED_SEVERITIES = (1, 3, 5)
SET = 10_000


def photographs(num: int, size: int) -> np.ndarray:
    """Returns patches of scikit-learn's two photographs, uint8 [num, size, size, 3]."""
    rng = np.random.default_rng(0)
    pictures = load_sample_images().images
    corners = rng.integers(0, [427 - size + 1, 640 - size + 1], (num, 2))
    return np.stack(
        [pictures[i % 2][y : y + size, x : x + size] for i, (y, x) in enumerate(corners)]
    )


def measure(
    transform: corruptions.Transform, index: jax.Array, image: jax.Array, repeats: int
) -> tuple[float, float, float]:
    """Returns seconds to compile, median seconds and median processor seconds of a call."""
    start = time.perf_counter()
    compiled = jax.jit(transform).lower(index, image).compile()
    compiling = time.perf_counter() - start
    jax.block_until_ready(compiled(index, image))
    times, processor = [], []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        jax.block_until_ready(compiled(index, image))
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return compiling, statistics.median(times), statistics.median(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=32, help="side in pixels")
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {jax.device_count()} x {device.device_kind}, {arguments}")
    image = jax.device_put(photographs(arguments.batch_size, arguments.size))
    index = jax.device_put(np.arange(arguments.batch_size, dtype=np.int32))
    print(f"{'corruption':18s} {'images/s':>10s} {'per CPU-s':>10s} {'compile s':>10s}")
    total = 0.0
    for name in (*corruptions.CORRUPTIONS, *corruptions.EXTRA):
        rows = [
            measure(
                corruptions.create(name, severity, size=arguments.size),
                index,
                image,
                arguments.repeats,
            )
            for severity in TIMED_SEVERITIES
        ]
        compiling, calling, processor = map(statistics.median, zip(*rows, strict=True))
        speeds = f"{len(image) / calling:10,.0f} {len(image) / processor:10,.0f}"
        print(f"{name:18s} {speeds} {compiling:10.2f}", flush=True)
        if name in corruptions.CORRUPTIONS:
            mean = statistics.fmean(seconds for _, seconds, _ in rows)
            compiled = statistics.fmean(seconds for seconds, _, _ in rows)
            total += 5 * (mean * SET / len(image) + compiled)
    print(f"75 sets of {SET:,}, compiled and made: about {total:,.0f} s")


if __name__ == "__main__":
    main()
