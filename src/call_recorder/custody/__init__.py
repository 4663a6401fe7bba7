"""custody: erase recordings, keep them under a legal hold, and end the retention that a rule sets."""
