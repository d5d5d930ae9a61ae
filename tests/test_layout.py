"""The folder list is the data path: imports go one way, and everything public is documented."""

import ast
import itertools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = ROOT / "autolabel_jax"

# Each row may import the rows above it; modules of one row do not import each other.
ORDER = (
    ("types", "processes", "files", "registry", "progress", "programs"),
    ("limits", "audio_ops"),
    ("datasets",),
    ("input_pipeline",),
    ("image_ops", "accumulation"),
    ("augment",),
    ("buckets", "calibration"),
    ("labels", "losses", "optimizer"),
    ("defaults", "labeler"),
    ("models", "visits", "best"),
    ("metrics", "calibrators"),
    ("experiment",),
    ("example_weights",),
    ("train_step", "calibration_step"),
    ("corruptions", "attacks"),
    ("evaluation", "diagnosis"),
    ("run_dir",),
    ("claim", "checkpoint", "metric_writer"),
    ("label_updates",),
    ("epochs",),
    ("train", "trained"),
    ("predictor",),
    ("serving",),
    ("commands",),
)
RANK = {module: rank for rank, row in enumerate(ORDER) for module in row}

# What a person launches reads flags and configs; the library gets values. Relative imports
# (they begin with a dot) would escape the check of the order.
FORBIDDEN = (
    "absl.app",
    "absl.flags",
    "argparse",
    "benchmarks",
    "configs",
    "experiments",
    "ml_collections.config_flags",
    "tests",
)

ALLOWED = {
    "datasets": {"absl.flags"},  # grain asks whether they were read; no value is
    "commands": {"argparse"},
}

NO_TEST_FILE = {
    "processes": "test_distributed.py runs it in several processes, the others in one",
    "types": "holds nothing but the fields of its pytrees",
}


def imported(source: str) -> set[str]:
    """Every name that source imports: 'a.b' for import a.b and for from a import b alike."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def library_imports(source: str) -> set[str]:
    """Modules of the library that source imports, by their names in ORDER."""
    parts = (name.split(".") for name in imported(source))
    modules = {part[1] for part in parts if part[0] == "autolabel_jax" and len(part) > 1}
    return {module for module in modules if not module.startswith("__")}


def wrong_way(module: str, source: str) -> set[str]:
    """Imports of a module that do not stand above it."""
    others = library_imports(source) - {module}
    return {other for other in others if RANK.get(other, len(ORDER)) >= RANK[module]}


def forbidden(source: str) -> set[str]:
    """Imports that library code must not have."""
    prefixes = (".", *(f"{prefix}." for prefix in FORBIDDEN))
    return {name for name in imported(source) if f"{name}.".startswith(prefixes)}


def undocumented(source: str) -> list[str]:
    """The module, and its public classes, functions and methods, where a docstring lacks."""

    def without(node, name):
        found = [] if ast.get_docstring(node) else [name or "module"]
        for child in node.body:
            public = isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name[0] != "_"
            # Flax calls setup and documents it; the class says what is set up.
            if public and child.name != "setup" and not isinstance(node, ast.FunctionDef):
                found += without(child, f"{name}.{child.name}".lstrip("."))
        return found

    return without(ast.parse(source), "")


def module_of(path: pathlib.Path) -> str:
    """Name in ORDER of a file: its own, or that of the package that it is in."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


FILES = sorted(set(LIBRARY.rglob("*.py")) - {LIBRARY / "__init__.py"})
each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))


def test_the_library_is_found():
    assert {"types", "buckets", "calibration", "labels"} <= {module_of(path) for path in FILES}


@each_file
def test_imports_only_what_stands_above(path):
    module = module_of(path)
    assert module in RANK, f"add {module} to ORDER here, and to the layout in the documentation"
    assert not wrong_way(module, path.read_text("utf-8"))


@pytest.mark.parametrize("path", [LIBRARY / "__init__.py", *FILES], ids=lambda p: p.name)
def test_reads_no_flags_and_no_configs(path):
    assert not forbidden(path.read_text("utf-8")) - ALLOWED.get(module_of(path), set())


@each_file
def test_public_names_have_docstrings(path):
    assert not undocumented(path.read_text("utf-8"))


@pytest.mark.parametrize("module", sorted({module_of(path) for path in FILES}))
def test_has_a_test_file(module):
    exists = (ROOT / "tests" / f"test_{module}.py").exists()
    assert exists != (module in NO_TEST_FILE), f"tests/test_{module}.py: exists is {exists}"


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("labels", "from autolabel_jax import calibration, types", set()),
        ("labels", "from autolabel_jax.labels import one_hot", set()),
        ("labels", "from autolabel_jax import __version__", set()),
        ("buckets", "from autolabel_jax.calibration import ece", {"calibration"}),
        ("losses", "def f():\n    import autolabel_jax.train_step as step", {"train_step"}),
        ("buckets", "from autolabel_jax import augment, train", {"train"}),
        ("train", "from autolabel_jax import unheard_of", {"unheard_of"}),
    ],
)
def test_finds_an_import_the_wrong_way(module, source, wrong):
    assert wrong_way(module, source) == wrong


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from absl import flags, logging", {"absl.flags"}),
        ("import absl.flags as f", {"absl.flags"}),
        ("from absl.flags import FLAGS", {"absl.flags.FLAGS"}),
        ("from ml_collections import ConfigDict, config_flags", {"ml_collections.config_flags"}),
        ("import configs", {"configs"}),
        ("if True:\n    from experiments import train", {"experiments.train"}),
        ("from .labels import one_hot", {".labels.one_hot"}),
        ("from .. import types", {"...types"}),
        ("import configs_of_mine, absl.logging", set()),
    ],
)
def test_finds_a_forbidden_import(source, found):
    assert forbidden(source) == found


def test_finds_what_lacks_a_docstring():
    source = '''
def bare(): pass
def _private(): pass
def outer():
    """Says."""
    def inner(): pass
class Module:
    def setup(self): pass
    def __call__(self): pass
    def method(self): pass
'''
    assert undocumented(source) == ["module", "bare", "Module", "Module.method"]


def test_no_module_stands_twice_in_the_order():
    names = list(itertools.chain.from_iterable(ORDER))
    assert len(names) == len(set(names))
