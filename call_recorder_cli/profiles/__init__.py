"""Recording profiles: reads, checks, compares and explains them before they are stored."""
