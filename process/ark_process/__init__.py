"""What every long-running program of the project has in common: settings, logs, exit codes, the HTTP endpoint.

It lies below the architecture's arrows: any program may import it, it imports none of them, and it knows
neither Redis, nor gRPC, nor Kubernetes.
"""
