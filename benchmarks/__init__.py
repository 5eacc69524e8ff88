"""Benchmarks of Lab Kit: each module here is run as ``python -m benchmarks.NAME`` (see README.md)."""
