"""The edges that people touch: command line, page and API."""
