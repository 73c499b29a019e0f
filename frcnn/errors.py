"""The one exception that means "the input is wrong", as opposed to "the program is"."""


class UserError(Exception):
    """Report a mistake in the input.

    The message is a single line: which file, which place in it, what is wrong, how to mend it.
    The commands print it without a traceback and exit with code 2.
    """
