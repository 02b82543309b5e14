"""The edges that people touch: command line and page."""
