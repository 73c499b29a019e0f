"""Makes each Python process that has this folder on PYTHONPATH lack what Windows lacks.

What only POSIX has is gone (modules: for this project's code), links are refused, processes are spawned, and a file
that the process has open or mapped can be neither replaced nor removed. Paths and encodings stay those of this system.
"""

import builtins
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import_module = builtins.__import__


def import_as_there(name: str, variables: Mapping[str, Any] | None = None, *others: Any, **options: Any) -> Any:
    """Import a module, unless Windows has none and it is this project that asks."""
    asking = (variables or {}).get("__name__", "").split(".")[0]
    if name in ("fcntl", "grp", "pwd", "resource", "termios") and asking in ("frcnn", "stages", "tests", "__main__"):
        raise ImportError(f"No module named {name!r}")
    return import_module(name, variables, *others, **options)


def refuse(*arguments: Any, **options: Any) -> None:
    """Make no link."""
    raise OSError(1314, "A required privilege is not held by the client")


def in_use(path: Any) -> bool:
    """Tell whether this process has a file, or one in a folder, open or mapped."""
    path = os.path.realpath(path)
    opened = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return any(each == path or each.startswith(path + os.sep) for each in opened | mapped)


def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that refuses paths in use."""

    def guard(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if isinstance(path, str | os.PathLike) and in_use(path):
                raise PermissionError(13, "It is being used by another process", str(path))
        return call(*paths, **options)

    return guard


multiprocessing.set_start_method("spawn", force=True)  # force: not an error in a process that is spawned
builtins.__import__ = import_as_there
for name in ("O_DIRECTORY", "fork", "killpg"):
    delattr(os, name)
for name in ("SIGALRM", "setitimer", "ITIMER_REAL", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"):
    delattr(signal, name)
os.symlink = os.link = refuse
os.linesep = "\r\n"
for name in ("rename", "replace", "remove", "unlink", "rmdir"):
    setattr(os, name, guarded(getattr(os, name)))
