"""Input that no client of ours would make, at every door: metadata, ArkAgents, stream entries, ledgers.

``corpus/`` has the cases that are worth keeping, found by these tests or by people; they are replayed in each run,
beside a bounded number of new ones. ``make fuzz EXAMPLES=10000`` looks for longer; what it finds belongs in there.
"""
