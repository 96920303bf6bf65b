"""The torch modules of the methods, in a folder of their own so that listing methods imports no torch."""
