"""The accept loop, connections of the gateway, and the memory of their bodies."""
