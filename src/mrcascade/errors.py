"""The one exception type whose message is meant for the user."""


class MRCascadeError(Exception):
    """Bad input or settings; the message is one line: what, where, and what to do about it.

    The command line prints the message alone and exits with code 2.
    """
