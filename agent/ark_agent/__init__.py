"""The worker runtime: takes tasks from an agent's queue and answers them with an LLM.

Knows Redis (through the task queue) and an LLM (through a provider), and nothing of Kubernetes or gRPC.
"""
