"""Figures of the hot paths, each beside its bar: `make bench`, or `python -m tests.bench --only path`."""
