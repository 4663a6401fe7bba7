"""The command line of the call recorder, ``call-recorder``, for those who operate a stack. Lambda never sees it."""

__version__ = "1.0.0"
