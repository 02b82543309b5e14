"""The embedded preview engine: CPU, no downloads, faster than real time."""
