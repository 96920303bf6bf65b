"""Where rows come from: generated data in the package, a folder of official files, single files, the hub."""
