"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A mistake in what the user passed in: a flag, a config field, a file.

    The message names the field or file, says what is wrong with it and what
    would be right. Entry points print it without a traceback and exit with 2.
    """
