"""The code and the commands that README.md shows."""

import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_training_loop_runs_and_learns_labels_that_fall_with_distance():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    learned = np.asarray(names["labels"].confidence)
    assert learned.shape == (5,)
    assert learned[0] > learned[-1]
    # The update never goes below the held-out accuracy, nor above 1.
    assert ((learned > 0.1) & (learned <= 1)).all()


def test_every_config_and_module_it_names_is_there():
    for path in re.findall(r"(?:configs|docs|autolabel_jax|tests)/[\w/]+\.\w+", README):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for name in re.findall(r"^\| ((?:`[\w./]+` ?)+)\|", README, re.MULTILINE):
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", name):
            assert (ROOT / "autolabel_jax" / path).exists(), path
