"""The figures of a suite in a report: importing a module registers its figures."""
