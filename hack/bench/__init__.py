"""Benchmarks: ``make bench NAME=...`` prints a table, writes ``.bench/NAME.json`` and fails when a bar is missed.

Figures that are compared come from one run, in turns, so that a machine's mood hits both. QUICK=1 takes fewer
samples.
"""
