"""`kubectl ark`: see what the agents do and why, and tell them otherwise.

Talks to Kubernetes by kubectl itself, so it works wherever kubectl does, and to Redis by the task queue's package.
"""
