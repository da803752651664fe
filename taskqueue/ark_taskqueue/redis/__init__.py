"""Redis as this package uses it: URLs, clients, pipelines, scripts, and errors in our own words."""
