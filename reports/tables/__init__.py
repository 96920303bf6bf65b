"""The tables of a suite in a report, one file each: importing a module registers its tables."""
