"""The cost of calls on AWS: plays calls through the functions, counts what they use, and multiplies it by list prices.

``make cost`` prints a month; ``make cost WRITE=1`` also writes the tables of docs/scaling.md. The package's modules, in
the order of their work: ``usage`` has the counts, ``metered_aws`` counts, ``play`` plays the calls, ``bill`` prices a
month of them, ``report`` shows it, and ``page`` writes the tables.
"""
