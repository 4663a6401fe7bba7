"""The twins: other implementations of the functions' job. docs/performance.md describes them."""
