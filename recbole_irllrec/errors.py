"""The one exception that users are meant to see."""


class IRLLRecError(ValueError):
    """Something that the user can put right.

    The message is one sentence: which file or setting, what was found, what to do.
    The commands print it without a traceback unless ``--debug`` is given.
    """
