"""Who computes when: deadlines, memory, cores, and the pool of worker threads."""
