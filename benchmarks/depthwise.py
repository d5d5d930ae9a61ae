"""Measures EfficientNet-Lite0 with depthwise convolutions as sums of shifted images, and grouped.

    python -m benchmarks.depthwise [--side=96] [--images=32]

On devices other than CPUs both rows run the same program.
"""

import argparse
import contextlib
from collections.abc import Callable, Sequence

import jax

from autolabel_jax.models import depthwise
from autolabel_jax.models.efficientnet import EfficientNetLite0
from benchmarks import harness


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table of milliseconds per image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=96, help="side of the images, pixels")
    parser.add_argument("--images", type=int, default=32, help="number of images of a batch")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    image = jax.random.normal(jax.random.key(0), (options.images, options.side, options.side, 3))
    network = EfficientNetLite0(num_classes=10)
    variables = jax.jit(network.init)(jax.random.key(0), image[:1])
    fixed = {"batch_stats": variables["batch_stats"]}

    def make_loss() -> Callable[[dict, jax.Array], jax.Array]:
        return lambda params, image: (network.apply({"params": params} | fixed, image) ** 2).sum()

    print(f"{harness.processor()}, {jax.devices()[0].device_kind}, {harness.load()}\n")
    print("| depthwise convolution | forward, ms an image | gradient, ms an image |")
    print("|---|---:|---:|")
    ways = {"shifted": contextlib.nullcontext, "grouped": depthwise.grouped_alone}
    for name, way in ways.items():
        with way():
            # The way is chosen when a function is traced, and JAX traces a function once.
            calls = [jax.jit(make_loss()), jax.jit(jax.grad(make_loss()))]
            compiled = [call.lower(variables["params"], image).compile() for call in calls]
        seconds = [
            harness.time_calls(
                lambda call=call: jax.block_until_ready(call(variables["params"], image)),
                options.repeats,
            ).wall
            for call in compiled
        ]
        print(
            f"| {name} | " + " | ".join(f"{1e3 * s / options.images:.1f}" for s in seconds) + " |"
        )


if __name__ == "__main__":
    main()
