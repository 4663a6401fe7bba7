"""answering: decides the answer to a callback: whether a call is recorded, where it is stored, with which consent."""
