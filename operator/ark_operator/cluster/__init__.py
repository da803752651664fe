"""What is in the cluster: caches kept by watches, and who owns which field."""
