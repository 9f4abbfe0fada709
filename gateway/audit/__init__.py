"""The audit log: who had what looked at by which enclave, in a chain that shows any change."""
