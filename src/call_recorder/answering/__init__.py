"""answering: the answer to a callback: which calls are recorded, where to, and with which consent."""
