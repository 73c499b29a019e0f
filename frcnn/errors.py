"""The one exception that means "the input is wrong", as opposed to "the program is"."""


class UserError(Exception):
    """Report one mistake in the input, or several at once.

    Each argument is a line: which file, which place in it, what is wrong, how to fix it.
    The commands print the lines without a traceback and exit with code 2.
    """

    def __str__(self) -> str:
        """Return the lines."""
        return "\n".join(map(str, self.args))
