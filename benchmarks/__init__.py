"""Measures the functions beside other implementations: `make bench`, explained in docs/performance.md."""
