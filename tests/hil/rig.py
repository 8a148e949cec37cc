"""The virtual board as what stands behind the port: blank, in a process of its own."""
