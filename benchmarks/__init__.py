"""What the functions cost beside other ways to write them: `make bench`, explained in docs/performance.md."""
