"""Runs one training in several processes, usually one per host, from flags or cluster variables.

Each of several processes starts itself again as a worker and waits for it. XLA aborts a worker
whose peer is gone without an exception in Python; the waiting process then reports what happened.
"""

import os
import signal
import subprocess
import sys
import threading

import jax
from absl import flags

from autolabel_jax.run_dir import RunDir

COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "host:port of the first of several processes, the same for all."
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes that train together.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Index of this process, 0 to num_processes - 1.", lower_bound=0
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train in several processes, as set by SLURM, Open MPI or a TPU pod."
)

PIPE = "AUTOLABEL_JAX_PARENT_PIPE"  # set in the environment of the worker
# Seconds without a heartbeat until a process counts as gone, for all to start, for all to end.
HEARTBEAT, START, SHUTDOWN = 30, 300, 60


def asked() -> bool:
    """Whether the flags make this one of several processes.

    Raises:
      ValueError: only some of the three flags are set, or the index is too large.
    """
    by_flag = {f.name: f.value for f in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)}
    given = [name for name, value in by_flag.items() if value is not None]
    if given and not DISTRIBUTED.value and len(given) < len(by_flag):
        lacking = ", ".join(f"--{name}" for name in by_flag if name not in given)
        raise ValueError(f"--{given[0]}: needs {lacking} too, or --distributed")
    if len(given) == len(by_flag) and PROCESS_ID.value >= NUM_PROCESSES.value:
        raise ValueError(
            f"--process_id: got {PROCESS_ID.value} of {NUM_PROCESSES.value} processes; "
            f"expected 0 to {NUM_PROCESSES.value - 1}"
        )
    return bool(given) or DISTRIBUTED.value


def is_worker() -> bool:
    """Whether this process is a worker that another one waits for."""
    return PIPE in os.environ


def supervise() -> int:
    """Starts this command again as the worker, waits, and returns the exit code."""
    read, write = os.pipe()  # closing it tells the worker that this process is gone
    command = [sys.executable, *sys.orig_argv[1:]]
    with subprocess.Popen(
        command, env=os.environ | {PIPE: str(read)}, pass_fds=[read], start_new_session=True
    ) as worker:
        os.close(read)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: worker.send_signal(received))
        code = worker.wait()
    os.close(write)
    if code == -signal.SIGABRT:
        print(f"error: {peer_lost()}", file=sys.stderr)
        return 1
    return 128 - code if code < 0 else code


def start() -> None:
    """Joins the other processes; must be called before JAX initialises its devices.

    Raises:
      ValueError: flags and cluster variables are incomplete, or the processes do not find each
        other in time.
    """
    threading.Thread(target=_end_with_parent, args=(int(os.environ[PIPE]),), daemon=True).start()
    _drop_native_output()
    try:
        jax.distributed.initialize(
            COORDINATOR.value,
            NUM_PROCESSES.value,
            PROCESS_ID.value,
            initialization_timeout=START,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
        )
    except ValueError as error:
        raise ValueError(
            f"--distributed: {error} No cluster that JAX knows was detected; "
            "set --coordinator_address, --num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"the {NUM_PROCESSES.value or ''} processes did not find each other within {START} s "
            f"({_first_line(error)}); is the address that of process 0, and do all run?"
        ) from error


def peer_lost(error: Exception | None = None) -> str:
    """Returns the message for a lost process, with the checkpoint that the run resumes from."""
    reason = "" if error is None else f" ({_first_line(error)})"
    workdir = flags.FLAGS["workdir"].value if "workdir" in flags.FLAGS else None
    last = RunDir(workdir).last_checkpoint() if workdir else None
    rest = f"resume from {last}" if last else "start again, as nothing is saved yet"
    return (
        f"another process of this run is gone{reason}; its own output may say why; "
        f"run the same command on all hosts to {rest}"
    )


def leave(message: str) -> None:
    """Exits at once with 1, because a clean exit would wait for processes that are gone."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)


def _drop_native_output() -> None:
    """Gives Python its own standard output; C++ code, such as Gloo, writes to nowhere."""
    sys.stdout.flush()
    sys.stdout = open(os.dup(1), "w", buffering=1)  # noqa: SIM115 it stays open
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
