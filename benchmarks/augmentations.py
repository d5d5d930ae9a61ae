"""AugMix and RandAugment images per second, against PIL, timm, torchvision v2 and kornia.

    python -m benchmarks.augmentations                # batches of 256 at 32 px, of 32 at 224 px
    python -m benchmarks.augmentations --device=gpu   # those that run there, waited for

A row is the median over --repeats groups of calls, after a warm-up. Beside the
wall clock stand images per second of processor time over all threads, which
other work on the machine disturbs less; the ratio is of those (on a GPU: of
the wall clock) to the fastest peer that gives every image operations of its
own (on a GPU: the fastest peer). Every peer starts from its own kind of image
in memory, ours from uint8 on the device, and ends with the augmented one.

Settings: AugMix of severity 3 and depth 1 to 3; RandAugment of two operations
at magnitude 9. Peers that are not installed (requirements-bench.txt) are named.
"""

import argparse
import importlib.util
import math
import os
import time

import numpy as np

from benchmarks import harness
from benchmarks.augmentation_peers import MAGNITUDE, OPERATIONS, PEERS, SEVERITY, Peer

SIZES = {32: 256, 224: 32}  # side: images in a batch
GROUP_SECONDS = 0.3  # of a timed group of calls
WHOLE_BATCH_CALLS = 20  # at least: one call is one draw of operations for all its images


def ours(method: str):
    """This project's augmentation as a Peer's ``make``."""

    def make(images, device):
        import jax  # after JAX_PLATFORMS is set
        import jax.numpy as jnp

        from autolabel_jax.augment import AugMix, RandAugment
        from autolabel_jax.types import Batch, Distance

        num = len(images)
        zeros = jnp.zeros(num, jnp.int32)
        batch = Batch(
            input=jax.device_put(images),
            label=zeros,
            index=zeros,
            mask=jnp.ones(num),
            distance=jnp.zeros(num),
        )

        @jax.jit
        def run(batch, seed):
            draw_key, key = jax.random.split(jax.random.key(seed))
            if method == "AugMix":
                augmix = AugMix(severity=float(SEVERITY), max_depth=3)
                return augmix.apply(key, batch, augmix.draw(draw_key, num)).input
            value = jnp.full(num, MAGNITUDE / 10)
            distance = Distance(group=jnp.full(num, OPERATIONS - 1), value=value)
            return RandAugment(max_operations=OPERATIONS).apply(key, batch, distance).input

        seeds = iter(range(1 << 30))
        return lambda: run(batch, next(seeds)).block_until_ready()

    return make


OURS = (
    Peer("autolabel_jax, 1 chain", "AugMix", "yes", ours("AugMix"), True),
    Peer("autolabel_jax", "RandAugment", "yes", ours("RandAugment"), True),
)


def measure(peer: Peer, images: np.ndarray, device: str, repeats: int) -> harness.Timing:
    """Seconds of one call."""
    if peer not in OURS and importlib.util.find_spec("torch"):
        import torch

        # One image at a time is the work of one data-loading process.
        torch.set_num_threads(1 if "whole" not in peer.name else len(os.sched_getaffinity(0)))
    call = peer.make(images, "cuda" if device == "gpu" else "cpu")
    call()
    start = time.perf_counter()
    call()
    inner = max(1, math.ceil(GROUP_SECONDS / (time.perf_counter() - start)))
    if peer.own != "yes":
        inner = max(inner, WHOLE_BATCH_CALLS)
    return harness.time_calls(call, repeats, inner=min(inner, 200))


def rows(method: str, size: int, batch_size: int, arguments: argparse.Namespace) -> list[tuple]:
    """The table of one method at one size."""
    # Only once JAX's platform is chosen.
    from benchmarks.corruptions import photographs

    images = photographs(batch_size, size)
    found = {}
    for peer in (*OURS, *PEERS):
        if peer.method != method or (arguments.device == "gpu" and not peer.on_gpu):
            continue
        try:
            timing = measure(peer, images, arguments.device, arguments.repeats)
            found[peer] = (batch_size / timing.wall, batch_size / timing.cpu)
        except ImportError as error:
            found[peer] = f"not installed: {error.name}"
        except Exception as error:  # whatever a peer raises is its result
            found[peer] = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
        print(f"{peer.name}, {size} px: {found[peer]}", flush=True)
    column = 1 if arguments.device == "cpu" else 0
    peers = [
        speeds[column]
        for peer, speeds in found.items()
        if isinstance(speeds, tuple)
        and peer not in OURS
        and (peer.own == "yes" or arguments.device == "gpu")
    ]
    fastest = max(peers, default=float("nan"))
    return [
        (peer.name, "", "", peer.own, speeds)
        if isinstance(speeds, str)
        else (
            peer.name,
            *(f"{speed:,.0f}" for speed in speeds),
            peer.own,
            f"{speeds[column] / fastest:.2f}",
        )
        for peer, speeds in found.items()
    ]


def hardware(device: str) -> str:
    import jax

    name = harness.processor() if device == "cpu" else jax.devices()[0].device_kind
    return f"jax {jax.__version__} on {name}, {harness.load()}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--only", default="", help="AugMix or RandAugment; '': both")
    parser.add_argument("--sizes", default="32,224", help="sides in pixels, comma-separated")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="seconds: does it run at all?")
    arguments = parser.parse_args(argv)
    os.environ["JAX_PLATFORMS"] = "cpu" if arguments.device == "cpu" else "cuda"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch wants some of it
    tables = {}
    for size in map(int, arguments.sizes.split(",") if not arguments.tiny else ["32"]):
        batch_size = 4 if arguments.tiny else SIZES.get(size, 32)
        for method in harness.chosen(("AugMix", "RandAugment"), arguments.only):
            title = f"{method}, {size} px, batch {batch_size}"
            tables[title] = rows(method, size, batch_size, arguments)
    print(f"\n{hardware(arguments.device)}")
    for title, table in tables.items():
        header = (title, "images/s", "per CPU-second", "own operations", "ratio")
        print()
        harness.print_table(header, table)


if __name__ == "__main__":
    main()
