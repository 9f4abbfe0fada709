"""What breaks in operation, broken on purpose: real processes, real sockets, loopback only."""
