"""The `frcnn` command: turns signals and exceptions into a line and an exit code.

It imports next to nothing, so that signals are in good hands before anything takes time.
"""

import io
import os
import sys

from .terminal.interrupt import exit_by_signal, handle_signals, launched, leave, stop, stop_with_parent

USERS_MISTAKE, OUR_MISTAKE = 2, 1


def main() -> None:
    """Run the command line; exit 0, 2 for the user's mistake, 1 for ours, 130 after Ctrl-C, 143 after SIGTERM."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: Windows may write few characters
    try:
        handle_signals()
        if launched() or "DVC_STAGE" in os.environ:
            stop_with_parent()
        _run()
    finally:
        stop.held = True  # no signal can come in between
        exit_by_signal()


def _run() -> None:
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        from frcnn.errors import torch_needed

        from .commands import app

        with torch_needed():
            app(windows_expand_args=False)  # predict expands names by itself, on every system
    except Exception as error:
        if stop():
            return  # what came of it does not matter
        if isinstance(error, BrokenPipeError):
            os._exit(141)  # the reader of our output went away
        if debug:
            raise
        code = _report(error)
        if launched():
            leave(code)
        sys.exit(code)


def _report(error: Exception) -> int:
    import errno

    from frcnn.errors import UserError

    from .terminal.console import report_error

    # Errors of the operating system that the user can mend: no space, no permission, no such file.
    no_space = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    no_access = {errno.EACCES, errno.EPERM, errno.EROFS}
    absent = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    users_errno = no_space | no_access | absent
    users = isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in users_errno)
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
