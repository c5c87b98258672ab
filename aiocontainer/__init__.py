"""Linux containers as awaitables."""
