"""The torch modules of the methods, apart from them so that listing methods imports no torch."""
