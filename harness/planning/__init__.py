"""From a spec to cells, and from cells to packs."""
