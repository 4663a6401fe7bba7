"""The command line of the call recorder, ``call-recorder``, for people who operate a stack. Lambda never gets it."""

__version__ = "1.0.0"
