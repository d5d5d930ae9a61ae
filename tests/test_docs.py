"""Commands, code and links of README.md and docs/.

Every command is expanded by bash with stubs for the programs, then its module, flags and config
fields are looked up. Blocks after ``<!-- tested -->`` are run.
"""

import ast
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unicodedata

import pytest
import yaml
from absl import flags
from ml_collections import config_flags

from autolabel_jax import registry
from autolabel_jax.commands import main as commands
from experiments import config_flag
from experiments.sweeping import runs as sweep_runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
FENCED = r"^```bash\n(.*?)^```"
INDENTED = r"(?:^    .*\n)*^    (?:\S+=\S+ )?(?:python|make|pip|git|\.venv\S*) .*\n(?:^    .*\n)*"

# Programs in place of which a stub prints the arguments, and commands that start another one.
RECORDED = ("python", "python3.11", ".venv/bin/python", ".venv-bench/bin/python", "make")
RECORDED += ("autolabel",)
STARTERS = ("taskset", "srun", "mpirun")
PIP = ("pip", ".venv/bin/pip", ".venv-bench/bin/pip", ".venv-onnx/bin/pip")
IGNORED = (*PIP, "git", "tfds", "ray", "source", "cd", "ls", "paste", "curl")
STUBS = "\n".join(
    [
        *(f"{name}() {{ printf '%s\\0' {name} \"$@\"; echo; }}" for name in RECORDED),
        *(f'{name}() {{ while [[ $1 != python ]]; do shift; done; "$@"; }}' for name in STARTERS),
        *(f"{name}() {{ :; }}" for name in IGNORED),
        'gcloud() { local last=${!#}; eval "${last#--command=}"; }',
    ]
)


def text_of(path):
    return path.read_text("utf-8")


def without_code(text):
    return re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


def command_blocks(text):
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    fenced = re.findall(FENCED, text, re.DOTALL | re.MULTILINE)
    return fenced + re.findall(INDENTED, rest, re.MULTILINE)


def expanded(block, folder):
    """Calls of the programs in RECORDED that bash makes, as lists of arguments."""
    done = subprocess.run(
        [shutil.which("bash"), "-euc", f"{STUBS}\n{block}"],
        cwd=folder,
        env={"PATH": "", "HOME": "/home/user"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return [line.rstrip("\0").split("\0") for line in done.stdout.splitlines()]


@functools.cache
def flags_of(module):
    """Names of the flags that a module, or a module of ours that it imports, defines."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        return frozenset()
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr.startswith(("DEFINE_", "add_argument")):
                names.add(node.args[0].value.lstrip("-"))
        elif isinstance(node, ast.ImportFrom) and node.module.startswith(("experi", "bench")):
            for alias in node.names:
                names |= flags_of(f"{node.module}.{alias.name}")
    return frozenset(names)


def check_config(arguments):
    """The config exists, has the fields, and takes the values; so has each axis of a sweep."""
    named = config_flag.named_methods(arguments)
    external = [registry.GROUPS[field] for field in named]
    of_external = tuple(f"--config.{group}." for group in external)
    kept = [a for a in arguments if a.startswith("--config") and not a.startswith(of_external)]
    values = flags.FlagValues()
    argv = ["program", *kept]
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=argv)
    values(argv)
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if "--search" not in given and "--axes" in given:
        sweep_runs.parse_axes(given["--axes"], values.config)


def check(call):
    """What a command of the documents names is there."""
    program, *arguments = call
    if program == "make":
        targets = re.findall(r"^([a-z0-9-]+):.*## ", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert set(arguments) <= set(targets), call
    elif program == "autolabel":
        assert arguments[0] in commands.COMMANDS, call
        try:
            commands.parser(arguments[0]).parse_args(arguments[1:])
        except SystemExit as end:
            raise AssertionError(call) from end
    elif arguments[0].endswith("predict.py"):
        pass  # of a predictor
    elif arguments[:2] == ["-m", "pytest"]:
        assert (ROOT / arguments[2]).exists(), call
    elif arguments[1].startswith(("experiments", "benchmarks", "tools")):
        known = flags_of(arguments[1])
        assert known, call
        given = [a[2:].split("=")[0] for a in arguments if a.startswith("--")]
        unknown = {n for n in given if not n.startswith("config.")} - known
        assert {n for n in unknown if n.removeprefix("no") not in known} == set(), call
        if "config" in given and arguments[1].startswith("experiments"):
            check_config(arguments)
    else:
        assert arguments[1] == "venv", call


def check_block(block, folder):
    assert "…" not in block, block
    for call in expanded(block, folder):
        check(call)


@each_document
def test_every_command_can_be_pasted(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in command_blocks(text_of(path)):
        check_block(block, tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "python -m experiments.trian --workdir=a",
        "python -m experiments.train --config=configs/digits.py --work_dir=a",
        "python -m experiments.train --config=configs/digits.py --config.labels.alfa=1",
        "python -m experiments.train --config=configs/digits.py --config.epochs=many",
        "python -m experiments.sweep --config=configs/digits.py --axes='labels.alfa=1,2'",
        "for a in 1; do python -m benchmarks.start --repeat=$a; done",
        "make tests",
        "autolabel predct --model=a --data=b",
        "autolabel predict --modell=a --data=b",
        "pyhton -m experiments.train",
    ],
)
def test_a_wrong_command_is_found(command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises((AssertionError, AttributeError, ValueError, flags.Error)):
        check_block(command, tmp_path)


def python_blocks(path):
    """Programs of a document, but for files of a package, and what needs a cluster or data."""
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(path), re.DOTALL | re.MULTILINE)
    # test_labeler.py and test_results.py run those with torch and with results/.
    needs = ("import ray", "import torch", '"results/', '"data/tfds"')
    return [
        b for b in blocks if not b.startswith("# my_pkg/") and not any(need in b for need in needs)
    ]


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS[1:] if python_blocks(p)], ids=lambda path: path.name
)
def test_python_code_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in python_blocks(path):
        code, names = code.replace("range(100)", "range(30)"), {}  # fewer epochs of own_loop.md
        exec(compile(code, path.name, "exec"), names)
        if path.name == "own_loop.md":
            learned = names["labels"].confidence
            assert 0.1 < learned[-1] < learned[0] <= 1


@pytest.mark.slow
def test_marked_commands_run(tmp_path, monkeypatch):
    """In a folder with the configs alone, after the Python code of the same page."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for path in DOCUMENTS:
        marked = re.findall(
            f"^<!-- tested -->\n{FENCED[1:]}", text_of(path), re.DOTALL | re.MULTILINE
        )
        for code in python_blocks(path) if marked else ():
            exec(compile(code, path.name, "exec"), {})
        for block in marked:
            script = f'python() {{ "{sys.executable}" "$@"; }}\n{block}'
            subprocess.run(["bash", "-euc", script], env=environment, check=True)
    assert (tmp_path / "runs" / "first" / "result.json").exists()
    assert (tmp_path / "runs" / "wine" / "result.json").exists()


def slug(heading):
    """Anchor of a heading, as Python-Markdown makes it."""
    ascii_text = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", ascii_text).strip().lower())


@each_document
def test_links_and_anchors_resolve(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(path))):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        assert path.parent == ROOT or found.is_relative_to(DOCS), f"{link} is not in the site"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(found), re.MULTILINE)
            assert anchor in map(slug, headings), link


@each_document
def test_every_file_that_a_document_names_is_there(path):
    names = r"(?<![\w/])(?:configs|docs|autolabel_jax|tests)/[\w/]+\.(?:py|md|png)\b"
    for name in re.findall(names, text_of(path)):
        assert (ROOT / name).exists(), name
    for module in re.findall(r"python -m ((?:experiments|benchmarks)[\w.]*)", text_of(path)):
        assert flags_of(module), module


def pages(entry):
    """Documents of the navigation, in its order."""
    if isinstance(entry, str):
        return [entry]
    return [
        page
        for part in (entry.values() if isinstance(entry, dict) else entry)
        for page in pages(part)
    ]


def test_every_page_is_in_the_navigation_once():
    text = text_of(ROOT / "mkdocs.yml")
    assert sorted(pages(yaml.safe_load(text)["nav"])) == sorted(
        str(path.relative_to(DOCS)) for path in DOCUMENTS[1:]
    )


def library_modules():
    return {p.stem for p in (ROOT / "autolabel_jax").iterdir() if p.name[0] != "_"}


def test_every_module_has_a_page_of_the_api():
    text = "".join(text_of(path) for path in (DOCS / "api").glob("*.md"))
    listed = re.findall(r"^::: autolabel_jax\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(library_modules())


def test_every_module_is_in_the_layout():
    rows = re.findall(r"^\| ((?:`[\w./]+` ?)+)\|", text_of(DOCS / "layout.md"), re.MULTILINE)
    listed = re.findall(r"`(\w+)(?:\.py|/)`", "".join(rows))
    assert sorted(listed) == sorted(library_modules())
