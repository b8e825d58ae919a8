"""The one exception that a user may see."""


class UserError(Exception):
    """Something that the user can set right: one line that names the thing and what to do.

    The command prints it without a traceback and exits with code 1.
    """
