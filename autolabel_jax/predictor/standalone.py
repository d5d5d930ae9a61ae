"""Classifies files or texts where jax, numpy and pillow are installed.

python predict.py FILE [FILE ...]
python predict.py --text TEXT [TEXT ...]

By the model, a file is an image, a .wav file, or a .csv table with the columns of the training
table or of texts. A .npy file holds inputs of the model as they are.
"""

import csv
import importlib
import json
import pathlib
import sys
import warnings

import jax.export
import numpy as np
from PIL import Image, ImageOps


def read(path, info):
    """Returns a batch of inputs: an array, what ``encoded`` makes of a file, or an image."""
    if str(path).endswith(".npy"):
        return np.load(path)
    if "encoding" in info:
        return encoded(path, info["encoding"])
    if info["input"]["kind"] != "image":
        raise ValueError(f"is no .npy file; the inputs are {info['input']}")
    return picture(path, info)


def encoded(path, described):
    """Returns a clip or the rows of a table, by encoding.py, a module of the training program."""
    encoding = importlib.import_module("encoding")
    if described["reads"] == "audio":
        return encoding.clip(str(path), described)[None]
    with open(path, encoding="utf-8-sig", newline="") as file:
        names, *rows = filter(None, csv.reader(file))
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"has rows without {len(names)} values")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return encoding.encode("table", columns, described)


def tokens(text, info):
    """Returns a batch of one text."""
    described = info.get("encoding", {"reads": None})
    if described["reads"] != "text":
        raise ValueError(f"the model takes no texts; its inputs are {info['input']}")
    encoding = importlib.import_module("encoding")
    return encoding.encode("text", {described["columns"][0]["name"]: [text]}, described)


def picture(path, info):
    """Returns a batch of one image: its middle, turned upright."""
    (height, width, channels), share = info["input"]["shape"], info["preprocessing"]["middle"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    (w, h), tall, wide = image.size, round(height / share), round(width / share)
    wide, tall = max((int(tall * w / h), tall), (wide, int(wide * h / w)))  # as w : h, covers both
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    image = image.resize((wide, tall), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + width, top + height))
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(1, height, width, channels)


def load(folder):
    """Returns the description of the model, its program and its weights."""
    sys.path.append(str(folder / "flatbuffers.zip"))  # jax.export needs it; jax does not bring it
    info = json.loads((folder / "predictor.json").read_text("utf-8"))
    program = jax.export.deserialize(bytearray((folder / "program.jax").read_bytes()))
    content = (folder / "weights.safetensors").read_bytes()
    end, weights = 8 + int.from_bytes(content[:8], "little"), {}
    for name, x in json.loads(content[8:end]).items():
        first, last = (end + offset for offset in x["data_offsets"])
        kind = {"F32": "<f4", "I32": "<i4"}[x["dtype"]]
        weights[name] = np.frombuffer(content[first:last], kind).reshape(x["shape"])
    return info, program, weights


def main(given):
    """Prints class and probability of each file or text; returns 1 if one was not read."""
    info, program, weights = load(pathlib.Path(__file__).resolve().parent)
    text, failed = given[:1] == ["--text"], False
    for name in given[text:]:
        with warnings.catch_warnings(record=True, action="always", category=UserWarning) as said:
            try:
                inputs = (tokens if text else read)(name, info)
                found = np.asarray(program.call(weights, inputs)["probabilities"])
            except (ValueError, OSError, csv.Error) as error:
                print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
                found, failed = [], True
        for warning in said:
            print(f"{name}: warning: {warning.message}", file=sys.stderr)
        for row in found:
            print(name, info["class_names"][row.argmax()], f"{row.max():.4f}", sep="\t")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
