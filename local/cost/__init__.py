"""The cost of calls on AWS: plays calls through the functions, counts what they use, and multiplies it by list prices.

``make cost`` prints a month; ``make cost WRITE=1`` also writes the tables of docs/scaling.md. The package's modules, in
the order of their work: ``usage`` is what is counted, ``metered_aws`` counts it, ``play`` plays the calls, ``bill``
prices a month of them, ``report`` shows it, and ``page`` writes the tables.
"""
