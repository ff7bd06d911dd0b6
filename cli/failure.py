"""What a command cannot do, as the one line that its user sees."""


class CannotDo(Exception):
    """The message is one line; the command ends with exit code 1 and no traceback."""
