"""The soak: a million facts and 100,000 callbacks pass through the functions, and memory and time must stay flat.

``python -m local.soak`` runs both parts side by side, each in a process of its own, as ``make soak`` does.
"""
