"""What `benchmarks/device.py` measures on a graphics card, section by section.

`runner` (no torch) starts `worker` processes, keeps their deadlines and writes what they find; `bench` is
what a section is given; the other modules hold a section or two each. A section is a generator of rows: plain
JSON mappings. A row with the one key `note` is a sentence; one with `passed` is a check.
"""
