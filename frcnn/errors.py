"""The one exception that means "the input is wrong", as opposed to "the program is"."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Report one mistake in the input, or several at once.

    Each argument is a line: which file, which place in it, what is wrong, how to fix it.
    The commands print the lines without a traceback and exit with code 2.
    """

    def __str__(self) -> str:
        """Return the lines."""
        return "\n".join(map(str, self.args))


@contextmanager
def torch_needed() -> Iterator[None]:
    """Say in the block, or in what is decorated, what to install if PyTorch is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        told = f"{error.name} is not installed; pip install torch torchvision (only .onnx files are used without)"
        raise UserError(told) from error
