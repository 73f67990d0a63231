"""Running commands, here and in a namespace; waiting for a condition."""
import subprocess
import time

from .errors import LabError


def run(argv, check=True, text_in=None, timeout=60):
    """Runs to the end and returns the CompletedProcess (text). A failure is a LabError that shows what the command said."""
    try:
        done = subprocess.run(argv, input=text_in, stdin=None if text_in is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed (docker/install installs what the lab needs)") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)}: no end after {timeout} s") from None
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip() or f'exit {done.returncode}'}")
    return done


def wait_until(condition, timeout, interval=0.01):
    """Polls until condition() is true (returned) or the time is over (returns the last value)."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(interval)
