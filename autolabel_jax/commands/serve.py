"""Serves a predictor over HTTP, with a page for pictures.

    autolabel serve --model=run/predictor
    autolabel serve --model=run/predictor --data_root=data --jobs=jobs

The service is for this machine alone unless --host names another address; then requests must bring
the token in the environment variable AUTOLABEL_TOKEN. With --data_root and --jobs it also learns
labels and models from manifests below --data_root. It needs pip install 'autolabel-jax[serve]'.
"""

import argparse
import contextlib
import importlib.util
import os
import pathlib
import socket

from autolabel_jax import predictor
from autolabel_jax.commands import output
from autolabel_jax.serving.job_processes import TOKEN

HOST, PORT = "127.0.0.1", 8000
EXTRA = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")  # modules of [serve]
BATCH_SIZE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--model", required=True, metavar="FOLDER", help="predictor that a run or export wrote")
    help = f"address to bind to; any but {HOST} needs {TOKEN} (default: %(default)s)"
    add("--host", default=HOST, help=help)
    add("--port", type=int, default=PORT, help="port; 0 for a free one (default: %(default)s)")
    help = "folder that manifests of jobs and their images are in"
    add("--data_root", type=pathlib.Path, metavar="FOLDER", help=help)
    help = "folder of the jobs, with their labels and models"
    add("--jobs", type=pathlib.Path, metavar="FOLDER", help=help)
    help = "most classes in an answer (default: %(default)s)"
    add("--top_k", type=int, default=10, metavar="K", help=help)
    help = "most inputs that are computed at once (default: %(default)s)"
    add("--batch_size", type=int, default=BATCH_SIZE, metavar="N", help=help)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command until it is stopped, and returns its exit code.

    Raises:
      ValueError, OSError: an argument is not valid, a package is missing, or the address cannot be
        bound to.
    """
    token = os.environ.get(TOKEN, "")
    _check(arguments, token)
    # These are in the extra [serve].
    import uvicorn

    from autolabel_jax.serving import app, jobs

    # A GPU is shared with the processes of jobs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    model = predictor.load(arguments.model, batch_size=arguments.batch_size)
    with contextlib.ExitStack() as stack:
        opened = None
        if arguments.jobs is not None:
            opened = stack.enter_context(jobs.opened(arguments.jobs, arguments.data_root))
        bound = stack.enter_context(_bind(arguments.host, arguments.port))
        made = app.create(model, jobs=opened, token=token, top_k=arguments.top_k)
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        output.say(f"serving {arguments.model} on http://{host}:{bound.getsockname()[1]}/")
        config = uvicorn.Config(
            made,
            log_config=None,  # logs as the rest of the process does
            log_level="warning",
            access_log=False,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[bound])
    return 0


def _check(arguments: argparse.Namespace, token: str) -> None:
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"autolabel serve needs {', '.join(missing)}: pip install 'autolabel-jax[serve]'"
        )
    if arguments.host != HOST and not token:
        raise ValueError(
            f"--host: got {arguments.host}; set {TOKEN} to a secret that requests must bring, or "
            f"use --host={HOST}"
        )
    if (arguments.data_root is None) != (arguments.jobs is None):
        raise ValueError("--data_root and --jobs: give both, or none for a service without jobs")
    if arguments.data_root is not None and not arguments.data_root.is_dir():
        raise ValueError(f"--data_root: {arguments.data_root} is no folder")
    for name in ("top_k", "batch_size"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name}: got {getattr(arguments, name)}, must be at least 1")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ValueError(f"--host, --port: {host}:{port} cannot be used: {error}") from error
