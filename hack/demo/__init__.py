"""The demo: a real trace through a real Redis, the real scaler over gRPC, and workers as processes.

Only KEDA, the HPA and the kubelet are stand-ins, and they call the scaler as the real ones do. All of their durations,
and those of the trace, are divided by the demo's speed-up; a *trace second* is a second of the trace.

`trace` and `summary` (what arrives when), `load` (submits it), `hpa` and `keda` (decide on replicas), `pods` (run
them), `measure` (samples and the final check), `chart` (shows it), `__main__` (puts them together).
"""
