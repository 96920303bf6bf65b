// The parts start in this order: filters first, because tables and charts read them.
addTheme();
addFilters();
addFolding();
addTables();
addCharts();
addTips();
