"""The domain: who is recorded, to where, and what became of the recording. Knows Sinch's words, not AWS."""
