"""What the worker does with a request: dispatch, sealed requests, OIP, and the pipeline."""
