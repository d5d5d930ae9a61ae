"""Times PyTorch's training step for ``benchmarks/train_step.py``.

The step is channels-last under autocast, with SGD and Nesterov momentum in a fused kernel, and
takes its batch from uint8 images on the device, as this project's step does.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks import harness
from benchmarks.torch_models import MODELS

# Arguments of torch.compile; None does not compile. 'graphs' records CUDA graphs.
MODES = {"eager": None, "compiled": {}, "graphs": {"mode": "reduce-overhead"}}
SIDE, NUM_CLASSES = 32, 10

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def hardware(device: str) -> str:
    """Describes the device and the version of PyTorch."""
    if device == "cuda":
        return f"torch {torch.__version__}, {torch.cuda.get_device_name()}"
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {harness.processor()}"


def make_loss(net: torch.nn.Module, dtype: str, device: str) -> Loss:
    """Returns a function from uint8 images [B, 3, H, W] and soft labels [B, K] to the mean loss."""

    def loss(image: torch.Tensor, soft_label: torch.Tensor) -> torch.Tensor:
        x = ((image.float() / 255 - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
        autocast = contextlib.nullcontext()
        if dtype != "float32":
            autocast = torch.autocast(device, getattr(torch, dtype))
        with autocast:
            logits = net(x)
        return functional.cross_entropy(logits.float(), soft_label)

    return loss


def measure(
    model: str, *, dtype: str, batch_size: int, mode: str, device: str, steps: int, repeats: int
) -> dict[str, Any]:
    """Measures images per second of the training step.

    Args:
      model: name in torch_models.MODELS.
      dtype: dtype of autocast; 'float32' uses none.
      batch_size: images per step.
      mode: name in MODES.
      device: 'cpu' or 'cuda'.
      steps: steps per timed group, between two synchronisations.
      repeats: number of timed groups.
    """
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch._dynamo.reset()
    net = MODELS[model](NUM_CLASSES).to(device, memory_format=torch.channels_last)
    loss_of = make_loss(net, dtype, device)
    if MODES[mode] is not None:
        loss_of = torch.compile(loss_of, **MODES[mode])
    optimizer = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    num = steps * batch_size
    image = torch.randint(256, (num, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    soft_label = torch.eye(NUM_CLASSES, device=device)[torch.arange(num) % NUM_CLASSES]
    order = torch.randperm(num, device=device)

    def step(place: int) -> torch.Tensor:
        rows = order[place * batch_size : (place + 1) * batch_size]
        loss = loss_of(image[rows], soft_label[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def group() -> float:
        for place in range(steps):
            loss = step(place)
        return loss.item()  # waits for the device

    start = time.perf_counter()
    step(0).item()
    compiling = time.perf_counter() - start
    timing = harness.time_calls(group, repeats, warmup=2 if device == "cuda" else 1)
    return {
        "images_per_second": num / timing.wall,
        "images_per_cpu_second": num / timing.cpu,
        "step_ms": 1e3 * timing.wall / steps,
        "compile_seconds": compiling,
        "parameters": sum(p.numel() for p in net.parameters()),
        "loss": group(),
        "hardware": hardware(device),
        "load": harness.load(),
    }


def matrix_product(size: int, dtype: str, device: str, repeats: int) -> dict[str, Any]:
    """Measures TFLOP/s of a product of two large random matrices."""
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    in_a_row = 10 if size >= 4096 else 1

    def call() -> None:
        for _ in range(in_a_row):
            out = a @ b
        out[0, 0].item()  # waits for the device

    timing = harness.time_calls(call, repeats, warmup=2)
    work = in_a_row * 2 * size**3 / 1e12
    return {
        "tflops": work / timing.wall,
        "cpu_tflops": work / timing.cpu,
        "size": size,
        "hardware": hardware(device),
        "load": harness.load(),
    }
