"""The `frcnn` command: registers the stages and turns exceptions into lines and an exit code."""

import errno
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

import frcnn
from frcnn.errors import UserError

from . import anchors, check, demo, detect, download, evaluate, import_weights, predict, preset, render, train
from .terminal.console import error_console, report_error, say
from .terminal.launch import launched, leave


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"frcnn {frcnn.__version__}")
        raise typer.Exit


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for module in (download, anchors, train, detect, evaluate, render, demo, preset, check, predict, import_weights):
    app.command(module.__name__.rpartition(".")[2].replace("_", "-"))(module.run)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Faster R-CNN as a pipeline of stages; add --debug to any command for tracebacks."""


USERS_MISTAKE, OUR_MISTAKE = 2, 1
# Errors of the operating system that the user can mend: no space, no permission, no such file.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}
USERS_ERRNO = NO_SPACE | NO_ACCESS | {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


def main() -> None:
    """Run the command line; exit 0, 2 for the user's mistake, 1 for ours, 130 after Ctrl-C, 143 after SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except BrokenPipeError:
        os._exit(141)  # the reader of our output went away
    except Exception as error:
        if debug:
            raise
        code = _report(error)
        if launched():
            leave(code)
        sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that half-written files are removed on the way."""
    if not launched():  # else the launcher says so
        error_console.print(f"stopped by {signal.Signals(number).name}", highlight=False)
    raise SystemExit(128 + number)


def _report(error: Exception) -> int:
    users = isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in USERS_ERRNO)
    if not users:
        remedy = "run again with --debug for the traceback"
        report_error(UserError(f"internal error: {type(error).__name__}: {error}; {remedy}"))
    elif isinstance(error, OSError) and error.filename:
        report_error(UserError(f"{error.filename}: {error.strerror}"))
    else:
        report_error(error)
    return USERS_MISTAKE if users else OUR_MISTAKE


if __name__ == "__main__":
    main()
