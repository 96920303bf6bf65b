"""Scripts that make the data and the models of suites/embedded."""
