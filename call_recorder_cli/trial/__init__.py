"""The live-call kit: a few calls by an operator, and what they settle about Sinch.

``calls`` has the calls and their profile, ``kept_profile`` lends the application that profile, ``conduct`` waits for
the calls, ``observations`` reads the log, ``findings`` draws conclusions, and ``report`` is what the operator gets.
"""
