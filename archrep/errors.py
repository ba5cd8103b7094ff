"""Errors and warnings of archrep: each names what was expected, what came and what to do."""


class ArchrepError(Exception):
    """Base of every error that a user can fix; the command line prints it as one line."""


class CellError(ArchrepError, ValueError):
    """A cell, or the text of one, is not legal in its search space."""


class NotationError(CellError):
    """A text is not in the notation of a search space."""


class SpaceError(ArchrepError, ValueError):
    """A search space was asked for something it does not have, such as an endless enumeration."""


class UnknownNameError(ArchrepError, LookupError):
    """A registry holds no entry of that name."""


class ConfigError(ArchrepError, ValueError):
    """A configuration holds one or more impossible values."""


class ShapeError(ArchrepError, ValueError):
    """Tensor or array shapes do not fit together."""


class RunError(ArchrepError, RuntimeError):
    """A run directory cannot be used as asked: it exists, is damaged or belongs to another run."""


class TableError(ArchrepError, ValueError):
    """A benchmark table, or a file to make one of, is damaged or not of the expected kind."""


class DataError(ArchrepError, ValueError):
    """Images, or files of them, are missing, damaged or not of the expected kind."""


class UnmeasuredError(ArchrepError, LookupError):
    """A cell, data set, seed or epoch that a table has no record of."""


class BudgetError(ArchrepError, RuntimeError):
    """A search asked for more queries or simulated seconds than it was given."""


class MisleadingFigureWarning(UserWarning):
    """A run can go on, but its figure does not mean what its name suggests."""
