"""Classifies images, or arrays in .npy files, where jax, numpy and pillow are installed.

python predict.py FILE [FILE ...]
"""

import json
import pathlib
import sys

import jax.export
import numpy as np
from PIL import Image, ImageOps


def read(path, info):
    """Returns a batch of inputs: the middle of an image, turned upright, or an array."""
    if str(path).endswith(".npy"):
        return np.load(path)
    (height, width, channels), share = info["input"]["shape"], info["preprocessing"]["middle"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    (w, h), tall, wide = image.size, round(height / share), round(width / share)
    wide, tall = max((int(tall * w / h), tall), (wide, int(wide * h / w)))  # as w : h, covers both
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    image = image.resize((wide, tall), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + width, top + height))
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(1, height, width, channels)


if __name__ == "__main__":
    folder = pathlib.Path(__file__).resolve().parent
    sys.path.append(str(folder / "flatbuffers.zip"))  # jax.export needs it; jax does not bring it
    info = json.loads((folder / "predictor.json").read_text("utf-8"))
    program = jax.export.deserialize(bytearray((folder / "program.jax").read_bytes()))
    content = (folder / "weights.safetensors").read_bytes()
    end, weights = 8 + int.from_bytes(content[:8], "little"), {}
    for name, x in json.loads(content[8:end]).items():
        first, last = (end + offset for offset in x["data_offsets"])
        kind = {"F32": "<f4", "I32": "<i4"}[x["dtype"]]
        weights[name] = np.frombuffer(content[first:last], kind).reshape(x["shape"])
    for path in sys.argv[1:]:
        for row in np.asarray(program.call(weights, read(path, info))["probabilities"]):
            print(path, info["class_names"][row.argmax()], f"{row.max():.4f}", sep="\t")
