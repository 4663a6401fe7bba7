"""The same job in other hands: what the functions are measured against. docs/performance.md says what each does."""
