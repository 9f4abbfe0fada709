"""The client and the httpx transport of the SDK."""
