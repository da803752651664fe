"""What is going on outside the API server's objects: queues, tokens, and whether KEDA runs."""
