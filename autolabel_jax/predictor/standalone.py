"""Classifies images, or arrays in .npy files, with the model in this folder.

python predict.py FILE [FILE ...]

It needs jax, numpy and pillow, and nothing else.
"""

import json
import pathlib
import sys

import jax.export
import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).resolve().parent
TYPES = {"F32": "<f4", "I32": "<i4"}  # of weights


def read(path, info):
    """Returns a batch of inputs: the middle of one image, or the array of a .npy file."""
    if str(path).endswith(".npy"):
        return np.load(path)
    (height, width, channels), middle = info["input"]["shape"], info["preprocessing"]["middle"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    (w, h), tall, wide = image.size, round(height / middle), round(width / middle)
    wide, tall = max((int(tall * w / h), tall), (wide, int(wide * h / w)))  # as w : h, covers both
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    image = image.resize((wide, tall), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + width, top + height))
    image = image.convert("L") if channels == 1 else image
    return np.asarray(image).reshape(1, height, width, channels)


def load():
    """Returns predictor.json, and the function from inputs [n, ...] to probabilities [n, K]."""
    sys.path.append(str(FOLDER / "flatbuffers.zip"))  # jax.export needs it; jax does not bring it
    program = jax.export.deserialize(bytearray((FOLDER / "program.jax").read_bytes()))
    content, weights = (FOLDER / "weights.safetensors").read_bytes(), {}
    start = 8 + int.from_bytes(content[:8], "little")
    for name, x in json.loads(content[8:start]).items():
        begin, end = x["data_offsets"]
        values = np.frombuffer(content[start + begin : start + end], TYPES[x["dtype"]])
        weights[name] = values.reshape(x["shape"])
    info = json.loads((FOLDER / "predictor.json").read_text("utf-8"))
    return info, lambda inputs: np.asarray(program.call(weights, inputs)["probabilities"])


if __name__ == "__main__":
    info, predict = load()
    for path in sys.argv[1:]:
        for row in predict(read(path, info)):
            print(path, info["class_names"][row.argmax()], f"{row.max():.4f}", sep="\t")
