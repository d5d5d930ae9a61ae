"""Compares the speed of augmentations with PIL, NumPy, timm, torchvision v2 and kornia.

    python -m benchmarks.augmentations                # batches of 256 at 32 px, of 32 at 224 px
    python -m benchmarks.augmentations --device=gpu   # those that run on a GPU

A row is the median over --repeats groups of calls, after a warm-up. It shows images per second of
wall-clock time and of processor time over all threads, which other work on the machine disturbs
less. The ratio compares processor time (on a GPU: wall-clock time) with the fastest peer that gives
every image its own operations (on a GPU: the fastest peer). Every peer starts from its own kind of
image in memory, ours from uint8 on the device, and ends with the augmented one.

AugMix uses severity 3 and depth 1 to 3; RandAugment uses two operations at magnitude 9; AutoAugment
uses the policy of CIFAR-10 (timm: of ImageNet). Cutout hides up to a quarter of the image. Peers
that are not installed (requirements-bench.txt) are listed as such.
"""

import argparse
import importlib.util
import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.augmentation_peers import PEERS, MakeCall, Peer
from benchmarks.augmentation_references import MAGNITUDE, OPERATIONS, SEVERITY

SIZES = {32: 256, 224: 32}  # side in pixels: batch size
GROUP_SECONDS = 0.3  # duration of a timed group of calls
WHOLE_BATCH_CALLS = 20  # minimum, as one call draws the operations for all its images


# Maps the name in the table to the class in ``autolabel_jax.augment`` and its settings.
METHODS = {
    "AugMix": ("AugMix", {"severity": float(SEVERITY), "max_depth": 3}),
    "RandAugment": ("RandAugment", {"max_operations": OPERATIONS}),
    "CutMix": ("CutMix", {}),
    "mixup and CutMix": ("MixupCutMix", {}),
    "Cutout": ("Cutout", {}),
    "soft crop": ("SoftCrop", {}),
    "Patch Gaussian": ("PatchGaussian", {}),
    "AutoAugment": ("AutoAugment", {}),
    "TrivialAugment": ("TrivialAugment", {}),
}


def ours(name: str, **changes: Any) -> MakeCall:
    """Wraps this project's augmentation, with changes of its settings, as a peer."""

    def make(images: np.ndarray, device: str) -> Callable[[], Any]:
        import jax  # after JAX_PLATFORMS is set
        import jax.numpy as jnp

        from autolabel_jax import augment
        from autolabel_jax.types import Batch, Distance

        class_name, settings = METHODS[name]
        method, num = getattr(augment, class_name)(**settings | changes), len(images)
        zeros = jnp.zeros(num, jnp.int32)
        batch = Batch(
            input=jax.device_put(images),
            label=zeros,
            index=zeros,
            mask=jnp.ones(num),
            distance=jnp.zeros(num),
        )

        @jax.jit
        def run(batch: Batch, seed: int) -> jax.Array:
            draw_key, key = jax.random.split(jax.random.key(seed))
            if name == "RandAugment":  # at the magnitude of the peers
                value = jnp.full(num, MAGNITUDE / 10)
                distance = Distance(group=jnp.full(num, OPERATIONS - 1), value=value)
            else:
                distance = method.draw(draw_key, num)
            return method.apply(key, batch, distance).input

        seeds = iter(range(1 << 30))
        return lambda: run(batch, next(seeds)).block_until_ready()

    return make


OURS = (
    Peer("autolabel_jax, 1 chain", "AugMix", "yes", ours("AugMix")),
    Peer("autolabel_jax, 3 chains", "AugMix", "yes", ours("AugMix", chains=3)),
    *(Peer("autolabel_jax", name, "yes", ours(name)) for name in METHODS if name != "AugMix"),
)


def measure(peer: Peer, images: np.ndarray, device: str, repeats: int) -> harness.Timing:
    """Times one call of a peer."""
    if peer not in OURS and importlib.util.find_spec("torch"):
        import torch

        # A data-loading process handles one image at a time on one thread.
        torch.set_num_threads(1 if "whole" not in peer.name else len(os.sched_getaffinity(0)))
    call = peer.make(images, "cuda" if device == "gpu" else "cpu")
    call()
    start = time.perf_counter()
    call()
    inner = max(1, math.ceil(GROUP_SECONDS / (time.perf_counter() - start)))
    if peer.own != "yes":
        inner = max(inner, WHOLE_BATCH_CALLS)
    return harness.time_calls(call, repeats, inner=min(inner, 200))


def _left_out(peer: Peer, device: str) -> bool:
    return device == "gpu" and not peer.on_gpu and peer not in OURS


def rows(method: str, size: int, batch_size: int, arguments: argparse.Namespace) -> list[tuple]:
    """Measures all peers of one method at one size; returns the rows of the table."""
    # Imported only after JAX's platform is chosen.
    from benchmarks.corruptions import photographs

    images = photographs(batch_size, size)
    speeds = {}
    for peer in (*OURS, *PEERS):
        if peer.method != method or _left_out(peer, arguments.device):
            continue
        try:
            timing = measure(peer, images, arguments.device, arguments.repeats)
            speeds[peer] = (batch_size / timing.wall, batch_size / timing.cpu)
        except ImportError as error:
            speeds[peer] = f"not installed: {error.name}"
        except Exception as error:  # an error of a peer is its result
            speeds[peer] = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
        print(f"{peer.name}, {size} px: {speeds[peer]}", flush=True)
    column = 1 if arguments.device == "cpu" else 0
    peers = [
        own[column]
        for peer, own in speeds.items()
        if isinstance(own, tuple)
        and peer not in OURS
        and (peer.own == "yes" or arguments.device == "gpu")
    ]
    fastest = max(peers, default=float("nan"))
    return [
        (peer.name, "", "", peer.own, own)
        if isinstance(own, str)
        else (
            peer.name,
            *(f"{speed:,.0f}" for speed in own),
            peer.own,
            f"{own[column] / fastest:.2f}",
        )
        for peer, own in speeds.items()
    ]


def hardware(device: str) -> str:
    """Describes the device, the version of JAX and the load."""
    import jax

    name = harness.processor() if device == "cpu" else jax.devices()[0].device_kind
    return f"jax {jax.__version__} on {name}, {harness.load()}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(METHODS)} (empty = all)")
    parser.add_argument("--sizes", default="32,224", help="sides in pixels, comma-separated")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="run in seconds, to test the benchmark")
    arguments = parser.parse_args(argv)
    os.environ["JAX_PLATFORMS"] = "cpu" if arguments.device == "cpu" else "cuda"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too
    tables = {}
    for size in map(int, arguments.sizes.split(",") if not arguments.tiny else ["32"]):
        batch_size = 4 if arguments.tiny else SIZES.get(size, 32)
        for method in harness.chosen(METHODS, arguments.only):
            title = f"{method}, {size} px, batch {batch_size}"
            tables[title] = rows(method, size, batch_size, arguments)
    print(f"\n{hardware(arguments.device)}")
    for title, table in tables.items():
        header = (title, "images/s", "per CPU-second", "own operations", "ratio")
        print()
        harness.print_table(header, table)


if __name__ == "__main__":
    main()
