"""HTTP in, HTTP out. A route translates; `gateway.dataplane` does the work."""
