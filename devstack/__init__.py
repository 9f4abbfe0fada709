"""Stand-ins for what only AWS has, which refuse what the real thing refuses."""
