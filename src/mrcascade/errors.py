"""The one exception type whose message is meant for the user."""


class MRCascadeError(ValueError):
    """Bad input or settings.

    The message is one line: what is wrong, where, and what to do about it. The command line prints
    the message alone and exits with code 2. A handler of ``ValueError`` around calls that may raise
    it must let it pass, so that the user reads its message.

    Example:
        >>> import mrcascade
        >>> try:
        ...     mrcascade.SeparableOperator.from_kernel("fourier", 3, (64, 64))
        ... except mrcascade.MRCascadeError as error:
        ...     print(error)
        size 64 is not divided by factor 3 into whole samples; crop to the nearest legal size 63
    """


class ReportedElsewhere(MRCascadeError):
    """An error that another process reports, as the main one of a launch does for all.

    Example:
        >>> raise ReportedElsewhere("data: no such folder")
        Traceback (most recent call last):
        mrcascade.errors.ReportedElsewhere: data: no such folder
    """
