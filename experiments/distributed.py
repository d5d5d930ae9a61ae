"""One run by several processes, usually one a host: started from flags or the cluster's variables.

A process asked to be one of several starts itself once more and waits: XLA ends a process
whose peer is gone from within, without a word to Python, and then this one says what happened.
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
    "num_processes", None, "How many processes train together.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is: 0 to num_processes - 1.", lower_bound=0
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes, as SLURM, Open MPI or a TPU pod says."
)

PIPE = "AUTOLABEL_JAX_PARENT_PIPE"  # in the environment of the process that does the work
# Seconds: of silence until a process counts as gone, for all to start, and for all to end.
HEARTBEAT, START, SHUTDOWN = 30, 300, 60


def asked() -> bool:
    """True where the flags make this one of several processes.

    Raises:
      ValueError: some of the three flags without the others.
    """
    by_flag = {f.name: f.value for f in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)}
    given = [name for name, value in by_flag.items() if value is not None]
    if given and not DISTRIBUTED.value and len(given) < len(by_flag):
        lacking = ", ".join(f"--{name}" for name in by_flag if name not in given)
        raise ValueError(f"--{given[0]}: give {lacking} too, or --distributed")
    if len(given) == len(by_flag) and PROCESS_ID.value >= NUM_PROCESSES.value:
        raise ValueError(
            f"--process_id: got {PROCESS_ID.value} of {NUM_PROCESSES.value} processes; "
            "they count from 0"
        )
    return bool(given) or DISTRIBUTED.value


def is_worker() -> bool:
    """True in the process that does the work, as another waits for it."""
    return PIPE in os.environ


def supervise() -> int:
    """Starts this command once more as the worker, and waits; returns the exit code."""
    read, write = os.pipe()  # its end tells the worker that this process is gone
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
    """Joins the other processes; call it before anything else asks JAX for its devices.

    Raises:
      ValueError: the cluster's variables do not say what the flags leave open, or the
        processes do not find each other in time.
    """
    threading.Thread(target=_end_with_parent, args=(int(os.environ[PIPE]),), daemon=True).start()
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
            f"--distributed: {error} No cluster that JAX knows is described here; "
            "give --coordinator_address, --num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"the {NUM_PROCESSES.value or ''} processes did not find each other within {START} s "
            f"({_first_line(error)}); is the address that of process 0, and do all run?"
        ) from error


def peer_lost(error: Exception | None = None) -> str:
    """What to tell when another process is gone, with where the run goes on."""
    told = "" if error is None else f" ({_first_line(error)})"
    workdir = flags.FLAGS["workdir"].value if "workdir" in flags.FLAGS else None
    last = RunDir(workdir).last_checkpoint() if workdir else None
    onward = f"goes on from {last}" if last else "begins anew, as nothing is saved yet"
    return (
        f"another process of this run is gone{told}; its own output may say why; "
        f"the same command on all hosts {onward}"
    )


def leave(message: str) -> None:
    """Ends at once with 1, as an orderly end would wait for processes that are gone."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
