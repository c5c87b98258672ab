"""The plan of a container: from the specification and the host to a flat list of steps, purely."""
