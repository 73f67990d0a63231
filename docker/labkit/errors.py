"""What ends a command early, and with which exit status."""


class UsageError(Exception):
    """A wrong command or an unknown host: exit 2."""


class LabError(Exception):
    """The lab could not do it: exit 1. `log` is a file whose last lines say why."""

    def __init__(self, message, log=None):
        super().__init__(message)
        self.log = log
