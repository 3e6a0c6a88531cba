"""Scripts that measure smarthdr and write RESULTS.md, and those that prepare shipped weights and test sets.

Run them from the root of a checkout, ``python -m benchmarks.quality.run --help``. ``quality``, ``components``,
``training`` and ``performance`` measure; ``release`` prepares weights; ``renderer`` makes the rendered set; ``lib`` is
shared. ``behaviour.py`` compares results before and after a change.
"""
