"""Chooses the settings of ``autolabel train`` from what is known of the data, and says why."""

import ast
import dataclasses
from typing import Any

import jax
import numpy as np

from autolabel_jax.datasets import manifest

STEPS = 3000  # training steps that the number of epochs aims at
SMALL = 48  # pixels; images with a shorter side up to this are decoded to 32 pixels, others to 64
CHECKPOINTS = 10  # of a run
MODELS = {  # model, its width and learning rate by kind of input; images have more on accelerators
    "image": ("small_cnn", 32, 0.1),
    "audio": ("small_cnn", 16, 0.05),
    "text": ("text_mean", 128, 0.002),
    "series": ("cnn1d", 32, 0.05),
    "features": ("mlp", 256, 0.02),
}
# Of other kinds: mixup.
AUGMENTATIONS = {"image": "augmix", "audio": "spec_augment", "text": "word_masking"}
FEW = 2000  # held-out examples, below which three intervals of the distance are enough


@dataclasses.dataclass(frozen=True)
class Facts:
    """Describes data before they are decoded.

    Attributes:
      dataset: value of ``config.dataset``.
      num: number of examples that training and calibration share.
      kind: kind of the inputs.
      side: median of the images' shorter sides in pixels; 0 if the inputs are no images.
      distance: whether the examples come with their distances.
      files: number of image files, test included; 0 if the examples are no files of images.
      held_out: number of calibration examples that the user brings; 0 = they are cut from ``num``.
    """

    dataset: str
    num: int
    kind: str
    side: int
    distance: bool
    files: int = 0
    held_out: int = 0


def choose(
    facts: Facts, given: dict[str, str], steps: int | None = None
) -> dict[str, tuple[Any, str]]:
    """Returns the value of each field that depends on the data, and the reason.

    Args:
      facts: what is known of the data.
      given: values of fields that the user sets, as text, which others follow.
      steps: number of training steps that the epochs aim at, instead of the default.
    """

    def asked(name: str, value: Any) -> Any:
        return parse(name, given[name], value) if name in given else value

    image, accelerator = facts.kind == "image", jax.default_backend() != "cpu"
    size = asked("image_size", 32 if facts.side <= SMALL else 64)
    batch = asked("batch_size", int(np.clip(2 ** round(np.log2(max(facts.num, 1) / 30)), 8, 128)))
    share = asked("calibration.fraction", 0.1 if facts.num >= 10 * FEW else 0.2)
    held_out = facts.held_out or round(facts.num * share)
    training = max(1, facts.num - held_out)
    num_epochs = round((steps or STEPS) * batch / training)
    num_epochs = max(1, num_epochs) if steps else int(np.clip(num_epochs, 10, 200))
    num_epochs = asked("epochs", num_epochs)
    gib, most = facts.files * size**2 * 3 / 2**30, manifest.MOST_BYTES / 2**30
    stream = asked("stream", gib > most and not facts.distance)
    chosen: dict[str, tuple[Any, str]] = {}
    if facts.dataset == "manifest" and image:
        chosen["image_size"] = size, f"the median of the shorter sides is {facts.side} pixels"
    if facts.files:
        where = "read from disk as needed" if stream else "decoded into memory"
        chosen["stream"] = stream, f"{where}: {gib:.2g} GiB decoded, in memory up to {most:g}"
    model, width, rate = MODELS[facts.kind]
    model = "resnet18" if image and accelerator else model
    chosen["model.name"] = (
        model,
        f"for inputs of kind {facts.kind!r}" + ("" if accelerator else ", on a CPU"),
    )
    if model != "resnet18":
        chosen["model.width"] = width, "a small network"
        chosen["optimizer.weight_decay"] = 0.0, "a small network"
    if facts.kind == "text":
        chosen["optimizer.name"] = "adamw", "rare words need steps of their own size"
    chosen["optimizer.learning_rate"] = rate, f"for {model}"
    chosen["batch_size"] = batch, f"about 30 steps an epoch, 8 to 128, {facts.num} examples"
    limits = "" if steps else ", 10 to 200 epochs; also --steps or --minutes"
    chosen["epochs"] = num_epochs, f"about {steps or STEPS} steps{limits}"
    crop = size // 8 if image and facts.side > 16 and not stream else 0
    why = (
        "streamed images are cropped when they are decoded" if stream else "an eighth of the image"
    )
    not_image = f"inputs of kind {facts.kind!r} are not moved"
    chosen["crop_pad"] = crop, why if image else not_image
    chosen["flip"] = (
        image and facts.dataset == "manifest",
        "mirror images keep their class in photographs; not in text or digits"
        if image
        else not_image,
    )
    name = "given" if facts.distance else AUGMENTATIONS.get(facts.kind, "mixup")
    why = "the data have distances" if facts.distance else f"for inputs of kind {facts.kind!r}"
    chosen["augment.name"] = name, why
    if not facts.held_out:
        chosen["calibration.fraction"] = share, "held out from training, to learn labels from"
    chosen["buckets.num"] = (3 if held_out < FEW else 10), f"{held_out} held-out examples"
    chosen["eval_batch_size"] = 250, "small enough for a CPU"
    chosen["checkpoint.every_epochs"] = (
        max(1, num_epochs // CHECKPOINTS),
        "ten checkpoints in a run",
    )
    return chosen


def parse(name: str, text: str, now: Any) -> Any:
    """Reads the value of a field as the type that the field has.

    Args:
      name: name of the field.
      text: the value as the user gave it.
      now: value of the field so far.

    Raises:
      ValueError: the text is of another type.
    """
    kind = type(now)
    if kind is str:
        return text
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        value = ast.literal_eval(text)
        if kind is int and value != int(value):
            raise ValueError(f"{value} is no whole number")
        return kind(value)
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"--config.{name}: got {text!r}, expected {kind.__name__}") from error
